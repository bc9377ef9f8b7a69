//! Probes: when a peer counts as healthy, and when a slot does.
//!
//! A peer that has never been probed is neither healthy nor sick. It becomes healthy after `healthy` good probes in a row and
//! sick after `unhealthy` bad ones; between the two it stays what it was.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Probes in a row that change what is thought of a peer. Zero means one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thresholds {
    /// Good ones until it is healthy.
    pub healthy: u32,
    /// Bad ones until it is sick.
    pub unhealthy: u32,
}

/// What is thought of a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Not probed often enough to know.
    #[default]
    Unknown,
    /// Takes traffic.
    Healthy,
    /// Does not.
    Sick,
}

#[derive(Clone, Debug, Default)]
struct Peer {
    health: Health,
    good: u32,
    bad: u32,
    /// Why the last probe was bad; empty when it was good.
    why: String,
}

impl Peer {
    fn observe(&mut self, thresholds: Thresholds, result: Result<(), String>) {
        match result {
            Ok(()) => {
                self.good = self.good.saturating_add(1);
                self.bad = 0;
                self.why.clear();
                if self.good >= thresholds.healthy {
                    self.health = Health::Healthy;
                }
            }
            Err(why) => {
                self.bad = self.bad.saturating_add(1);
                self.good = 0;
                self.why = why;
                if self.bad >= thresholds.unhealthy {
                    self.health = Health::Sick;
                }
            }
        }
    }
}

/// What is thought of a slot: one round of probes after the other, each over the peers that the slot has then.
#[derive(Clone, Debug)]
pub struct Slot {
    thresholds: Thresholds,
    peers: BTreeMap<String, Peer>,
}

impl Slot {
    /// A slot that has not been probed.
    pub fn new(thresholds: Thresholds) -> Self {
        let at_least_once =
            Thresholds { healthy: thresholds.healthy.max(1), unhealthy: thresholds.unhealthy.max(1) };
        Self { thresholds: at_least_once, peers: BTreeMap::new() }
    }

    /// Adds a round. Peers that are not in it have left the slot and are forgotten.
    pub fn observe(&mut self, round: impl IntoIterator<Item = (String, Result<(), String>)>) {
        let mut before = std::mem::take(&mut self.peers);
        for (address, result) in round {
            let mut peer = before.remove(&address).unwrap_or_default();
            peer.observe(self.thresholds, result);
            self.peers.insert(address, peer);
        }
    }

    /// Healthy when all its peers are, sick when one of them is. A slot without peers is not healthy.
    pub fn health(&self) -> Health {
        let mut peers = self.peers.values().map(|peer| peer.health).peekable();
        if peers.peek().is_none() {
            return Health::Unknown;
        }
        peers.fold(Health::Healthy, |slot, peer| match (slot, peer) {
            (Health::Sick, _) | (_, Health::Sick) => Health::Sick,
            (Health::Unknown, _) | (_, Health::Unknown) => Health::Unknown,
            (Health::Healthy, Health::Healthy) => Health::Healthy,
        })
    }

    /// What keeps the slot from being healthy, for people: one line.
    pub fn why(&self) -> String {
        let Thresholds { healthy, .. } = self.thresholds;
        let troubles: Vec<String> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.health != Health::Healthy || !peer.why.is_empty())
            .map(|(address, peer)| match peer.why.as_str() {
                "" => format!("{address}: {} of {healthy} good probes in a row", peer.good),
                why => format!("{address}: {why}"),
            })
            .collect();
        if self.peers.is_empty() { "it has no peer that is not down".to_owned() } else { troubles.join("; ") }
    }
}

/// How many peers of a slot must be healthy for traffic to move there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quorum {
    /// All: the way forward, onto a version that nobody has seen at work.
    All,
    /// More than half: the way back. Users are on a bad version meanwhile, and nginx passes over the peers that fail.
    Majority,
}

impl Quorum {
    /// Whether so many healthy peers are enough. Never without any.
    pub fn met(self, healthy: usize, peers: usize) -> bool {
        match self {
            Self::All => healthy == peers && peers > 0,
            Self::Majority => healthy.saturating_mul(2) > peers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLDS: Thresholds = Thresholds { healthy: 2, unhealthy: 3 };

    fn slot_after(probes: &str) -> Slot {
        let mut slot = Slot::new(THRESHOLDS);
        for probe in probes.chars() {
            let result = if probe == '+' { Ok(()) } else { Err("status 503".to_owned()) };
            slot.observe([("10.0.0.1:80".to_owned(), result)]);
        }
        slot
    }

    #[test]
    fn thresholds_work_both_ways() {
        for (probes, health) in [
            ("", Health::Unknown),
            ("+", Health::Unknown),
            ("++", Health::Healthy),
            ("+-+", Health::Unknown),
            ("--", Health::Unknown),
            ("---", Health::Sick),
            ("++--", Health::Healthy),
            ("++---", Health::Sick),
            ("---+", Health::Sick),
            ("---++", Health::Healthy),
            ("--+--", Health::Unknown),
        ] {
            assert_eq!(slot_after(probes).health(), health, "{probes}");
        }
    }

    #[test]
    fn good_probes_that_are_not_enough_are_counted() {
        assert_eq!(slot_after("+").why(), "10.0.0.1:80: 1 of 2 good probes in a row");
    }

    #[test]
    fn a_slot_is_as_healthy_as_its_worst_peer() {
        let mut slot = Slot::new(THRESHOLDS);
        for _ in 0..3 {
            slot.observe([("a".to_owned(), Ok(())), ("b".to_owned(), Err("refused".to_owned()))]);
        }
        assert_eq!(slot.health(), Health::Sick);
        assert_eq!(slot.why(), "b: refused");
        slot.observe([("a".to_owned(), Ok(()))]);
        assert_eq!(slot.health(), Health::Healthy, "b has left");
        slot.observe([]);
        assert_eq!(slot.health(), Health::Unknown);
        assert_eq!(slot.why(), "it has no peer that is not down");
    }

    #[test]
    fn a_threshold_of_zero_is_one() {
        let mut slot = Slot::new(Thresholds { healthy: 0, unhealthy: 0 });
        slot.observe([("a".to_owned(), Err("refused".to_owned()))]);
        assert_eq!(slot.health(), Health::Sick);
    }

    #[test]
    fn quorums() {
        for (quorum, healthy, peers, met) in [
            (Quorum::All, 0, 0, false),
            (Quorum::All, 2, 2, true),
            (Quorum::All, 1, 2, false),
            (Quorum::Majority, 0, 0, false),
            (Quorum::Majority, 0, 1, false),
            (Quorum::Majority, 1, 1, true),
            (Quorum::Majority, 1, 2, false),
            (Quorum::Majority, 2, 3, true),
        ] {
            assert_eq!(quorum.met(healthy, peers), met, "{quorum:?} {healthy} of {peers}");
        }
    }
}
