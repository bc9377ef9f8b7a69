//! Health of peers and slots, from the results of probes.
//!
//! A peer that has never been probed is neither healthy nor sick. It becomes healthy after `healthy` good probes in a row and
//! sick after `unhealthy` bad ones. In between it keeps its health.

use serde::{Deserialize, Serialize};

mod require;

pub use require::{BadRequire, Require};

/// Number of equal probes in a row that change the health of a peer. Zero means one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thresholds {
    /// Good probes until it is healthy.
    pub healthy: u32,
    /// Bad probes until it is sick.
    pub unhealthy: u32,
}

/// The health of a peer or a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Not probed often enough.
    #[default]
    Unknown,
    /// It can take traffic.
    Healthy,
    /// It cannot take traffic.
    Sick,
}

#[derive(Clone, Debug, Default)]
struct Peer {
    health: Health,
    good: u32,
    bad: u32,
    /// Why the last probe was bad; empty if it was good.
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

/// The health of a slot over several rounds of probes. Each round covers the peers that the slot has at that time.
#[derive(Clone, Debug)]
pub struct Slot {
    thresholds: Thresholds,
    require: Require,
    /// In the order of the last round. An address may occur twice; each occurrence has its own results.
    peers: Vec<(String, Peer)>,
    /// Rounds without any peer since the last one with some. `None`: there was never any.
    deserted: Option<u32>,
}

impl Slot {
    /// A slot that has not been probed.
    pub fn new(thresholds: Thresholds, require: Require) -> Self {
        let at_least_once =
            Thresholds { healthy: thresholds.healthy.max(1), unhealthy: thresholds.unhealthy.max(1) };
        Self { thresholds: at_least_once, require, peers: Vec::new(), deserted: None }
    }

    /// Adds the results of a round. Peers that are not in it have left the slot and are removed.
    pub fn observe(&mut self, round: impl IntoIterator<Item = (String, Result<(), String>)>) {
        let mut before = std::mem::take(&mut self.peers);
        for (address, result) in round {
            // Taken out of `before`, so the second occurrence of an address finds the second entry.
            let place = before.iter().position(|(known, _)| *known == address);
            let mut peer = place.map(|place| before.remove(place).1).unwrap_or_default();
            peer.observe(self.thresholds, result);
            self.peers.push((address, peer));
        }
        self.deserted = match (self.peers.is_empty(), self.deserted) {
            (false, _) => Some(0),
            (true, rounds) => rounds.map(|rounds| rounds.saturating_add(1)),
        };
    }

    /// Healthy if the required number of peers is healthy. Sick if too many peers are sick for that, or if all have left. A slot
    /// that never had one is unknown.
    pub fn health(&self) -> Health {
        if self.peers.is_empty() {
            let have_left = self.deserted.is_some_and(|rounds| rounds >= self.thresholds.unhealthy);
            if have_left { Health::Sick } else { Health::Unknown }
        } else if self.require.is_met(self.healthy(), self.peers.len()) {
            Health::Healthy
        } else if !self.require.is_met(self.not_sick(), self.peers.len()) {
            Health::Sick
        } else {
            Health::Unknown
        }
    }

    /// Number of healthy peers.
    pub fn healthy(&self) -> usize {
        self.count(Health::Healthy)
    }

    /// Number of peers that are not known to be sick.
    pub fn not_sick(&self) -> usize {
        self.peers.len() - self.count(Health::Sick)
    }

    /// Number of peers in the last round.
    pub fn servers(&self) -> usize {
        self.peers.len()
    }

    fn count(&self, health: Health) -> usize {
        self.peers.iter().filter(|(_, peer)| peer.health == health).count()
    }

    /// Why the slot is not healthy, in one line for people.
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
        if self.peers.is_empty() { NO_PRIMARY.to_owned() } else { troubles.join("; ") }
    }
}

/// The message for a slot without primaries.
pub const NO_PRIMARY: &str = "it has no server except backup and down ones";

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLDS: Thresholds = Thresholds { healthy: 2, unhealthy: 3 };

    fn slot_after(probes: &str) -> Slot {
        let mut slot = Slot::new(THRESHOLDS, Require::All);
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
        let mut slot = Slot::new(THRESHOLDS, Require::All);
        for _ in 0..3 {
            slot.observe([("a".to_owned(), Ok(())), ("b".to_owned(), Err("refused".to_owned()))]);
        }
        assert_eq!(slot.health(), Health::Sick);
        assert_eq!(slot.why(), "b: refused");
        slot.observe([("a".to_owned(), Ok(()))]);
        assert_eq!(slot.health(), Health::Healthy, "b has left");
        slot.observe([]);
        assert_eq!(slot.health(), Health::Unknown);
        assert_eq!(slot.why(), NO_PRIMARY);
    }

    #[test]
    fn a_slot_that_all_peers_have_left_is_sick() {
        let mut slot = slot_after("++");
        slot.observe([]);
        slot.observe([]);
        assert_eq!(slot.health(), Health::Unknown, "they may be about to come back");
        slot.observe([]);
        assert_eq!(slot.health(), Health::Sick);
        slot.observe([("10.0.0.1:80".to_owned(), Ok(()))]);
        assert_eq!(slot.health(), Health::Unknown);
        let mut never = slot_after("");
        (0..9).for_each(|_| never.observe([]));
        assert_eq!(never.health(), Health::Unknown, "it may have backup servers");
    }

    #[test]
    fn a_threshold_of_zero_is_one() {
        let mut slot = Slot::new(Thresholds { healthy: 0, unhealthy: 0 }, Require::All);
        slot.observe([("a".to_owned(), Err("refused".to_owned()))]);
        assert_eq!(slot.health(), Health::Sick);
    }

    #[test]
    fn an_address_that_is_there_twice_has_results_at_each_place() {
        let mut slot = Slot::new(THRESHOLDS, Require::All);
        let twice = |one: Result<(), String>, other: Result<(), String>| {
            [("a".to_owned(), one), ("b".to_owned(), Ok(())), ("a".to_owned(), other)]
        };
        slot.observe(twice(Ok(()), Ok(())));
        assert_eq!(slot.health(), Health::Unknown, "one good probe of each is not two in a row");
        slot.observe(twice(Ok(()), Ok(())));
        assert_eq!(slot.health(), Health::Healthy);
        for _ in 0..3 {
            slot.observe(twice(Ok(()), Err("refused".to_owned())));
        }
        assert_eq!((slot.health(), slot.healthy()), (Health::Sick, 2));
    }

    #[test]
    fn as_many_as_are_required() {
        let probes = [("a", true), ("b", true), ("c", false)];
        for (require, after_one, after_three) in [
            (Require::All, Health::Unknown, Health::Sick),
            (Require::Majority, Health::Unknown, Health::Healthy),
            (Require::Percent(67), Health::Unknown, Health::Sick),
            (Require::Percent(66), Health::Unknown, Health::Healthy),
            (Require::One, Health::Unknown, Health::Healthy),
        ] {
            let mut slot = Slot::new(THRESHOLDS, require);
            let mut round = || {
                let result = |good| if good { Ok(()) } else { Err("refused".to_owned()) };
                slot.observe(probes.map(|(address, good)| (address.to_owned(), result(good))));
                slot.health()
            };
            assert_eq!(round(), after_one, "{require}");
            round();
            assert_eq!(round(), after_three, "{require}");
        }
    }
}
