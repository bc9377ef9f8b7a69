//! Probes of a slot: one check of each primary.

use cutover_core::api::{Group as Seen, Slot};
use cutover_core::probe::NO_PRIMARY;
use cutover_core::smoke::OF_CHECK;
use futures_util::future::join_all;

use crate::asking::{Agent, Asked, Asking};
use crate::metrics;
use crate::peers::Peers;
use crate::policy::Policy;
use crate::versions::Versions;

/// The results of one round.
#[derive(Clone, Debug, Default)]
pub struct Round {
    /// By peer.
    pub results: Vec<(String, Result<(), String>)>,
    /// A redirect, if every peer has passed with one: then no application has shown that it works.
    pub only_redirects: Option<String>,
}

impl Round {
    /// The number of peers that passed.
    pub fn passed(&self) -> usize {
        self.results.iter().filter(|(_, result)| result.is_ok()).count()
    }

    /// The peers that passed.
    pub fn passing(&self) -> impl Iterator<Item = &str> {
        self.results.iter().filter(|(_, result)| result.is_ok()).map(|(address, _)| address.as_str())
    }

    /// What is said of a slot whose probes pass with redirects only.
    pub fn doubt(&self) -> Option<String> {
        let redirect = self.only_redirects.as_ref()?;
        Some(format!(
            "its probes pass with redirects only ({redirect}), so they do not show whether the application works: send what \
             it wants to see, as in probe.headers = {{ X-Forwarded-Proto = \"https\" }}"
        ))
    }
}

/// Probes the slots of one group.
#[derive(Clone, Debug)]
pub struct Prober<'a, W> {
    /// Sends the requests.
    pub world: &'a W,
    /// The group's name, which is the value of `Host` unless the policy has one.
    pub group: &'a str,
    /// The policy of the group.
    pub policy: &'a Policy,
    /// The versions in the slots. A slot whose version is not known is not asked for it.
    pub versions: Versions,
}

/// The summary of one round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Number of servers that passed.
    pub healthy: usize,
    /// Number of servers that were probed.
    pub servers: usize,
    /// Why the others did not pass, in one line.
    pub why: String,
}

impl<W: Peers> Prober<'_, W> {
    /// Probes all primaries of a slot at the same time.
    pub async fn round(&self, slot: &Slot) -> Round {
        let round = self.uncounted_round(slot).await;
        for (_, result) in &round.results {
            metrics::probed(self.group, &slot.name, result.is_ok());
        }
        round
    }

    /// The same for a slot that may well be stopped: its probes are in no metric, because a failed one is no fault.
    pub async fn uncounted_round(&self, slot: &Slot) -> Round {
        let probes = slot
            .primaries()
            .map(async |peer| (peer.address.clone(), self.probe(&slot.name, &peer.address).await));
        let asked = join_all(probes).await;
        let mut redirects = asked.iter().map(|(_, asked)| asked.redirect().filter(|_| asked.verdict.is_ok()));
        let first = redirects.next().flatten();
        Round {
            only_redirects: first.filter(|_| redirects.all(|redirect| redirect.is_some())),
            results: asked.into_iter().map(|(address, asked)| (address, asked.verdict)).collect(),
        }
    }

    /// Verifies that a slot is healthy. One good round is enough. Fails after as many rounds as make a peer sick. The error
    /// says why in one line.
    pub async fn verify(&self, group: &Seen, slot: &str) -> Result<(), String> {
        let require = self.policy.probe.require;
        let is_enough = |found: &Found| require.is_met(found.healthy, found.servers);
        let found = self.look(group, slot, is_enough).await?;
        if is_enough(&found) { Ok(()) } else { Err(found.why) }
    }

    /// Probes in rounds and returns the first that is enough. After as many rounds as make a peer sick, returns the best one.
    /// Fails if the group has no such slot.
    pub async fn look(
        &self,
        group: &Seen,
        slot: &str,
        is_enough: impl Fn(&Found) -> bool,
    ) -> Result<Found, String> {
        let Some(slot) = group.slot(slot) else {
            return Err(format!("group \"{}\" has no slot \"{slot}\"", group.name));
        };
        let mut best = self.found(slot).await;
        for _ in 1..self.policy.probe.unhealthy.get() {
            if is_enough(&best) {
                break;
            }
            tokio::time::sleep(self.policy.probe.interval.get()).await;
            let found = self.found(slot).await;
            if found.healthy >= best.healthy {
                best = found;
            }
        }
        Ok(best)
    }

    /// Probes one round and summarises it.
    pub async fn found(&self, slot: &Slot) -> Found {
        let results = self.round(slot).await.results;
        let bad: Vec<String> = results
            .iter()
            .filter_map(|(address, result)| Some(format!("{address}: {}", result.as_ref().err()?)))
            .collect();
        let why = if results.is_empty() { NO_PRIMARY.to_owned() } else { bad.join("; ") };
        Found { healthy: results.len() - bad.len(), servers: results.len(), why }
    }

    async fn probe(&self, slot: &str, address: &str) -> Asked {
        let probe = &self.policy.probe;
        let asking = Asking {
            world: self.world,
            group: self.group,
            policy: self.policy,
            values: self.versions.values(slot),
            agent: Agent::Probe,
            pass: &OF_CHECK,
        };
        asking.ask(&probe.check, address, None, probe.timeout.get()).await
    }
}
