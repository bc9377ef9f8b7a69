//! Which slots of a group have traffic, and which slot is the standby.
//!
//! A slot that has traffic is not touched: no command starts it, stops it or reverts its database. Only this file decides whether a
//! slot has traffic.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Group, Peer, RouteState, Slot, TrialPhase};
use crate::fraction::Percent;

/// Why a slot has traffic. Text completes `slot "green" ..`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Traffic {
    /// It is the active slot. With a split, it receives the rest.
    Active,
    /// A split gives it a share.
    Share {
        /// The share.
        percent: Percent,
    },
    /// It is the fallback of a trial. The workers of nginx may give it all traffic at any moment.
    Fallback {
        /// The slot on trial.
        trial: String,
    },
    /// It gets no new requests, but holds unfinished ones.
    InFlight {
        /// Requests, upgraded connections included.
        requests: u64,
        /// Upgraded connections (WebSockets) among them.
        upgraded: u64,
    },
    /// The route sends it no new requests, but workers of nginx that are shutting down may still do so.
    OldWorkers {
        /// The number of these workers.
        workers: u32,
        /// For how many seconds the oldest of them has been shutting down, as far as that is known.
        for_s: u32,
    },
}

impl Traffic {
    /// Whether new requests of users go to the slot, or may at any moment.
    pub fn is_routed(&self) -> bool {
        !matches!(self, Self::InFlight { .. } | Self::OldWorkers { .. })
    }

    /// The unfinished requests, as in `2 requests and 1 connection`. `None` if the route sends the slot new requests too.
    pub fn held(&self) -> Option<String> {
        match self {
            Self::InFlight { requests, upgraded } => Some(held(*requests, *upgraded)),
            Self::OldWorkers { workers, .. } => Some(format!("requests of {}", old_workers(*workers))),
            _ => None,
        }
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Active => f.write_str("has the traffic"),
            Self::Share { percent } => write!(f, "has {percent} of the traffic"),
            Self::Fallback { trial } => {
                write!(f, "takes the traffic back if the trial of slot \"{trial}\" fails")
            }
            Self::InFlight { requests, upgraded } => {
                write!(f, "holds {}", held(*requests, *upgraded))
            }
            Self::OldWorkers { workers, for_s } => {
                write!(f, "may get requests from {}", old_workers(*workers))?;
                let verb = if *workers == 1 { "has" } else { "have" };
                write!(f, ", which {verb} been shutting down for {for_s} s")
            }
        }
    }
}

/// Text as in `1 old worker of nginx`.
fn old_workers(workers: u32) -> String {
    format!("{workers} old worker{} of nginx", if workers == 1 { "" } else { "s" })
}

/// Text as in `3 connections`, `1 request` or `2 requests and 1 connection`.
fn held(in_flight: u64, upgraded: u64) -> String {
    let counted = |number: u64, noun: &str| format!("{number} {noun}{}", if number == 1 { "" } else { "s" });
    match (in_flight.saturating_sub(upgraded), upgraded) {
        (requests, 0) => counted(requests, "request"),
        (0, connections) => counted(connections, "connection"),
        (requests, connections) => {
            format!("{} and {}", counted(requests, "request"), counted(connections, "connection"))
        }
    }
}

impl Group {
    /// Why a slot has traffic. `None` if it has none.
    pub fn has_traffic(&self, slot: &str) -> Option<Traffic> {
        if let Some(routed) = self.route.routes_to(slot) {
            return Some(routed);
        }
        let slot = self.slot(slot)?;
        let (requests, upgraded) = (slot.in_flight(), slot.upgraded());
        if requests > 0 {
            return Some(Traffic::InFlight { requests, upgraded });
        }
        let (workers, for_s) = (slot.old_workers, slot.old_workers_for_s);
        (workers > 0).then_some(Traffic::OldWorkers { workers, for_s })
    }

    /// The standby, which a preview with `cutover_slot standby` reaches. `None` if the group has only one slot.
    pub fn standby(&self) -> Option<&Slot> {
        if let Some(named) = self.route.standby.as_deref().and_then(|named| self.slot(named)) {
            return Some(named);
        }
        let active = self.slots.iter().position(|slot| slot.name == self.route.active)?;
        let second = self.slots.iter().position(|slot| self.route.share(&slot.name).is_some());
        self.slots.get(next_standby(active, self.slots.len(), second, None)).filter(|_| self.slots.len() > 1)
    }
}

/// Position of the standby: the slot with a share, otherwise the slot that a deployment has chosen, otherwise the next slot
/// after the active one in the configuration.
///
/// `active`: position of the active slot among `slots`.
pub fn next_standby(active: usize, slots: usize, second: Option<usize>, chosen: Option<usize>) -> usize {
    let chosen = chosen.filter(|chosen| *chosen != active && *chosen < slots);
    second.or(chosen).unwrap_or(if active + 1 < slots { active + 1 } else { 0 })
}

impl RouteState {
    /// Why new requests go to a slot, or may at any moment.
    pub fn routes_to(&self, slot: &str) -> Option<Traffic> {
        if self.active == slot {
            return Some(Traffic::Active);
        }
        if let Some(percent) = self.share(slot) {
            return Some(Traffic::Share { percent });
        }
        let trial = self.trial.as_ref().filter(|trial| trial.phase != TrialPhase::Held)?;
        (trial.fallback == slot).then(|| Traffic::Fallback { trial: trial.slot.clone() })
    }

    /// Whether a slot has all the traffic and keeps it: there is no split and no trial.
    pub fn is_all_on(&self, slot: &str) -> bool {
        self.active == slot && self.split.is_none() && self.trial.is_none()
    }

    /// The share of a slot that is not active.
    pub fn share(&self, slot: &str) -> Option<Percent> {
        let percent = self.split.as_ref()?.get(slot).filter(|percent| percent.parts() > 0)?;
        (self.active != slot).then_some(*percent)
    }
}

/// Text as in `"green" is active, generation 7` or `"blue" is active with 90 %, "green" has 10 %, ..`.
impl fmt::Display for RouteState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" is active", self.active)?;
        for (slot, percent) in self.split.iter().flatten().filter(|(_, percent)| percent.parts() > 0) {
            match *slot == self.active {
                true => write!(f, " with {percent}")?,
                false => write!(f, ", \"{slot}\" has {percent}")?,
            }
        }
        if let Some(trial) = &self.trial {
            write!(f, ", on trial with fallback \"{}\"", trial.fallback)?;
        }
        write!(f, ", generation {}", self.generation)
    }
}

impl Slot {
    /// Requests that the slot holds now: those of users and previews, upgraded connections included. It must not be stopped under
    /// either.
    pub fn in_flight(&self) -> u64 {
        self.counters.in_flight.saturating_add(self.previews.in_flight).max(self.upgraded())
    }

    /// Upgraded connections among them.
    pub fn upgraded(&self) -> u64 {
        self.upgraded.saturating_add(self.previews.upgraded)
    }

    /// The servers of a release. nginx sends nothing to a server that is `down`. It uses a `backup` only if all others fail, so a
    /// `backup` may be another version or an error page.
    pub fn primaries(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter().filter(|peer| !peer.down && !peer.backup)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Shares, TrialState};
    use crate::counters::{Counters, Previews};
    use crate::guard::Figures;

    fn group(slots: &[&str]) -> Group {
        let slot = |name: &&str| Slot { name: (*name).to_owned(), ..Slot::default() };
        Group {
            name: "shop".to_owned(),
            route: RouteState {
                active: "blue".to_owned(),
                generation: 7,
                split: None,
                trial: None,
                standby: None,
            },
            slots: slots.iter().map(slot).collect(),
            events: Vec::new(),
        }
    }

    fn split(second: &str, parts: u16) -> Shares {
        let percent = |parts| Percent::from_parts(parts).unwrap();
        [("blue".to_owned(), percent(10_000 - parts)), (second.to_owned(), percent(parts))].into()
    }

    fn trial(slot: &str, fallback: &str, phase: TrialPhase) -> TrialState {
        TrialState {
            slot: slot.to_owned(),
            fallback: fallback.to_owned(),
            phase,
            guard: None,
            lease_left_ms: Some(1),
            rescue: false,
            figures: Figures::default(),
        }
    }

    fn said(group: &Group, slot: &str) -> Option<String> {
        group.has_traffic(slot).map(|traffic| traffic.to_string())
    }

    #[test]
    fn what_has_traffic() {
        let mut shop = group(&["blue", "green"]);
        assert_eq!(shop.has_traffic("blue"), Some(Traffic::Active));
        assert_eq!(shop.has_traffic("green"), None);
        assert_eq!(shop.has_traffic("red"), None);
        shop.route.split = Some(split("green", 1));
        assert_eq!(said(&shop, "green").unwrap(), "has 0.01 % of the traffic");
        assert_eq!(shop.has_traffic("blue"), Some(Traffic::Active));
        shop.route.split = Some(split("green", 0));
        assert_eq!(shop.has_traffic("green"), None);
    }

    #[test]
    fn a_fallback_has_traffic_as_long_as_it_may_come_back() {
        let mut shop = group(&["blue", "green"]);
        for (phase, routed) in
            [(TrialPhase::Armed, true), (TrialPhase::GoingBack, true), (TrialPhase::Held, false)]
        {
            shop.route.trial = Some(trial("blue", "green", phase));
            assert_eq!(
                shop.has_traffic("green").is_some_and(|traffic| traffic.is_routed()),
                routed,
                "{phase:?}"
            );
            assert!(!shop.route.is_all_on("blue"));
        }
    }

    #[test]
    fn requests_that_have_not_ended_are_traffic_but_lead_nowhere() {
        let mut shop = group(&["blue", "green"]);
        for (in_flight, upgraded, text) in [
            (1, 0, "holds 1 request"),
            (2, 2, "holds 2 connections"),
            (3, 1, "holds 2 requests and 1 connection"),
            (0, 1, "holds 1 connection"),
        ] {
            shop.slots[1].counters = Counters { in_flight, ..Counters::default() };
            shop.slots[1].upgraded = upgraded;
            assert_eq!(said(&shop, "green").unwrap(), text);
            assert!(!shop.has_traffic("green").unwrap().is_routed());
        }
    }

    #[test]
    fn previews_that_have_not_ended_are_traffic_too() {
        let mut shop = group(&["blue", "green"]);
        for (users, previews, text) in [
            ((0, 0), (1, 0), "holds 1 request"),
            ((0, 0), (1, 1), "holds 1 connection"),
            ((2, 0), (2, 1), "holds 3 requests and 1 connection"),
            ((2, 2), (3, 3), "holds 5 connections"),
        ] {
            let slot = &mut shop.slots[1];
            slot.counters = Counters { in_flight: users.0, ..Counters::default() };
            slot.upgraded = users.1;
            slot.previews = Previews { in_flight: previews.0, upgraded: previews.1, ..Previews::default() };
            assert_eq!(said(&shop, "green").unwrap(), text);
        }
    }

    #[test]
    fn old_workers_are_traffic_but_lead_nowhere() {
        let mut shop = group(&["blue", "green"]);
        for (workers, text) in [
            (1, "may get requests from 1 old worker of nginx, which has been shutting down for 40 s"),
            (2, "may get requests from 2 old workers of nginx, which have been shutting down for 40 s"),
        ] {
            (shop.slots[1].old_workers, shop.slots[1].old_workers_for_s) = (workers, 40);
            assert_eq!(said(&shop, "green").unwrap(), text);
            assert!(!shop.has_traffic("green").unwrap().is_routed());
        }
        shop.slots[1].counters.in_flight = 1;
        assert_eq!(said(&shop, "green").unwrap(), "holds 1 request", "what is certain comes first");
        assert_eq!(Slot::default().old_workers, 0);
        assert!(!serde_json::to_string(&Slot::default()).unwrap().contains("old_workers"));
    }

    #[test]
    fn the_standby() {
        let mut shop = group(&["blue", "green", "red"]);
        let standby = |shop: &Group| shop.standby().map(|slot| slot.name.clone());
        for (active, next) in [("blue", "green"), ("green", "red"), ("red", "blue")] {
            shop.route.active = active.to_owned();
            assert_eq!(standby(&shop).as_deref(), Some(next), "after {active}");
        }
        shop.route.active = "blue".to_owned();
        shop.route.split = Some(split("red", 500));
        assert_eq!(standby(&shop).as_deref(), Some("red"), "the one that has a share");
        shop.route.split = None;
        shop.route.standby = Some("red".to_owned());
        assert_eq!(standby(&shop).as_deref(), Some("red"), "what nginx says");
        assert_eq!(standby(&group(&["blue"])), None);
    }

    #[test]
    fn a_choice_that_has_become_the_active_slot_is_none_any_more() {
        assert_eq!(next_standby(0, 3, None, Some(2)), 2);
        assert_eq!(next_standby(2, 3, None, Some(2)), 0);
        assert_eq!(next_standby(0, 2, None, Some(5)), 1);
        assert_eq!(next_standby(0, 3, Some(1), Some(2)), 1);
    }

    #[test]
    fn routes_as_text() {
        let mut route = group(&["blue", "green"]).route;
        assert_eq!(route.to_string(), "\"blue\" is active, generation 7");
        route.split = Some(split("green", 1_000));
        assert_eq!(route.to_string(), "\"blue\" is active with 90 %, \"green\" has 10 %, generation 7");
        route.trial = Some(trial("green", "blue", TrialPhase::Armed));
        assert!(
            route.to_string().ends_with("\"green\" has 10 %, on trial with fallback \"blue\", generation 7"),
            "{route}"
        );
    }

    #[test]
    fn a_release_has_neither_backups_nor_servers_that_are_down() {
        let peer =
            |address: &str, backup, down| Peer { address: address.to_owned(), server: None, backup, down };
        let peers = vec![peer("a", false, false), peer("b", true, false), peer("c", false, true)];
        let slot = Slot { peers, ..Slot::default() };
        assert_eq!(slot.primaries().map(|peer| peer.address.as_str()).collect::<Vec<_>>(), ["a"]);
    }
}
