//! Probes of a slot: one GET request to each primary.

use cutover_core::api::{Group as Seen, Slot};
use cutover_core::probe::NO_PRIMARY;
use cutover_core::smoke::OF_PROBE;
use futures_util::future::join_all;

use crate::metrics;
use crate::peers::{Peers, request};
use crate::policy::Policy;
use crate::versions::Versions;

/// The results of one round, by peer.
pub type Round = Vec<(String, Result<(), String>)>;

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
        let probes = slot.primaries().map(async |peer| {
            let result = self.probe(&slot.name, &peer.address).await;
            metrics::probed(self.group, &slot.name, result.is_ok());
            (peer.address.clone(), result)
        });
        join_all(probes).await
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
        let results = self.round(slot).await;
        let bad: Vec<String> = results
            .iter()
            .filter_map(|(address, result)| Some(format!("{address}: {}", result.as_ref().err()?)))
            .collect();
        let why = if results.is_empty() { NO_PRIMARY.to_owned() } else { bad.join("; ") };
        Found { healthy: results.len() - bad.len(), servers: results.len(), why }
    }

    async fn probe(&self, slot: &str, address: &str) -> Result<(), String> {
        let probe = &self.policy.probe;
        let host = self.policy.host.as_deref().unwrap_or(self.group);
        let headers = [("host", host), ("user-agent", "cutover-probe"), ("connection", "close")];
        let request =
            request("GET", probe.path.as_str(), &headers, None).map_err(|error| error.to_string())?;
        let answer = self.world.ask(address, request, probe.timeout.get()).await?;
        let expected = probe.expect.filled(&self.versions.values(slot));
        expected.check(&answer, &OF_PROBE).map_err(|why| format!("{}: {why}", probe.path.as_str()))
    }
}
