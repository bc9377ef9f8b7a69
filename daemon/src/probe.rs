//! Probing a slot: one GET of every peer that nginx may send traffic to.

use cutover_core::api::{Group as Seen, Slot};
use cutover_core::probe::Quorum;
use futures_util::future::join_all;

use crate::config::Group;
use crate::metrics;
use crate::world::Peers;

/// Results of one round, by peer.
pub type Round = Vec<(String, Result<(), String>)>;

/// Whom to probe, and how.
#[derive(Clone, Copy, Debug)]
pub struct Prober<'a, W> {
    /// Who asks.
    pub world: &'a W,
    /// The group's name: value of `Host` unless the configuration has one.
    pub group: &'a str,
    /// How.
    pub config: &'a Group,
}

impl<W: Peers> Prober<'_, W> {
    /// Probes all peers of a slot at the same time. Peers that are down get no traffic and are left out.
    pub async fn round(&self, slot: &Slot) -> Round {
        let peers = slot.peers.iter().filter(|peer| !peer.down);
        let probes = peers.map(async |peer| {
            let result = self.probe(&peer.address).await;
            metrics::probed(self.group, &slot.name, result.is_ok());
            (peer.address.clone(), result)
        });
        join_all(probes).await
    }

    /// Whether a slot is healthy now: one good round will do, and as many bad ones as make a peer sick will not. The error says
    /// why in one line.
    pub async fn verify(&self, group: &Seen, slot: &str, quorum: Quorum) -> Result<(), String> {
        let Some(slot) = group.slot(slot) else {
            return Err(format!("group \"{}\" has no slot \"{slot}\"", group.name));
        };
        let mut why = String::new();
        for round in 0..self.config.probe.unhealthy.get() {
            if round > 0 {
                tokio::time::sleep(self.config.probe.interval.get()).await;
            }
            let results = self.round(slot).await;
            let bad: Vec<String> = results
                .iter()
                .filter_map(|(address, result)| Some(format!("{address}: {}", result.as_ref().err()?)))
                .collect();
            if quorum.met(results.len() - bad.len(), results.len()) {
                return Ok(());
            }
            why = match results.len() {
                0 => format!("slot \"{}\" has no peer that is not down", slot.name),
                _ => bad.join("; "),
            };
        }
        Err(why)
    }

    async fn probe(&self, address: &str) -> Result<(), String> {
        let probe = &self.config.probe;
        let host = self.config.host.as_deref().unwrap_or(self.group);
        let headers = [("host", host), ("user-agent", "cutover-probe"), ("connection", "close")];
        let request = crate::http::request("GET", probe.path.as_str(), &headers, None)
            .map_err(|error| error.to_string())?;
        let answer = self.world.ask(address, request, probe.timeout.get()).await?;
        match answer.status {
            200..400 => Ok(()),
            status => Err(format!("status {status} from {}", probe.path.as_str())),
        }
    }
}
