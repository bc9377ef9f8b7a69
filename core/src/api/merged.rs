//! One group on several edges, as one group.

use std::collections::BTreeMap;

use super::{Group, RouteState, Shares, Slot};
use crate::counters::Bytes;
use crate::fraction::{Percent, Share};
use crate::latency::Latency;

impl Group {
    /// The group of several edges as one: the counters of each slot added up, the servers of all edges, and the share that each
    /// slot has over all edges. A slot has traffic as soon as one edge sends it some. `None` if there is no edge.
    pub fn merged(groups: &[&Self]) -> Option<Self> {
        let (first, others) = groups.split_first()?;
        let mut all = (*first).clone();
        if others.is_empty() {
            return Some(all);
        }
        all.events = Vec::new();
        for slot in others.iter().flat_map(|other| &other.slots) {
            match all.slots.iter_mut().find(|known| known.name == slot.name) {
                Some(known) => known.add(slot),
                None => all.slots.push(slot.clone()),
            }
        }
        all.route = merged_route(&groups.iter().map(|group| &group.route).collect::<Vec<_>>(), &all.route);
        Some(all)
    }
}

impl Slot {
    /// Adds the same slot of another edge. Quantiles cannot be added, so they are left out.
    fn add(&mut self, other: &Self) {
        let plus = u64::saturating_add;
        for peer in &other.peers {
            match self.peers.iter_mut().find(|known| known.address == peer.address) {
                // Where it is a server of the release on one edge, it must be healthy.
                Some(known) => {
                    known.backup &= peer.backup;
                    known.down &= peer.down;
                }
                None => self.peers.push(peer.clone()),
            }
        }
        self.counters = self.counters.zip(&other.counters, plus);
        self.failures = self.failures.zip(&other.failures, plus);
        self.server_errors = self.server_errors.zip(&other.server_errors, plus);
        self.bytes = Bytes {
            sent: plus(self.bytes.sent, other.bytes.sent),
            received: plus(self.bytes.received, other.bytes.received),
        };
        self.upgraded = plus(self.upgraded, other.upgraded);
        self.old_workers = self.old_workers.saturating_add(other.old_workers);
        self.old_workers_for_s = self.old_workers_for_s.max(other.old_workers_for_s);
        self.first_byte = added(&self.first_byte, &other.first_byte);
        self.whole = added(&self.whole, &other.whole);
        self.previews.requests = plus(self.previews.requests, other.previews.requests);
        self.previews.responses = self.previews.responses.zip(&other.previews.responses, plus);
        self.previews.in_flight = plus(self.previews.in_flight, other.previews.in_flight);
        self.previews.upgraded = plus(self.previews.upgraded, other.previews.upgraded);
    }
}

fn added(one: &Latency, other: &Latency) -> Latency {
    let mut buckets = BTreeMap::<u64, u64>::new();
    for (bound, count) in one.buckets.iter().chain(&other.buckets) {
        let sum = buckets.entry(*bound).or_default();
        *sum = sum.saturating_add(*count);
    }
    Latency {
        count: one.count.saturating_add(other.count),
        sum_us: one.sum_us.saturating_add(other.sum_us),
        quantiles: None,
        buckets: buckets.into_iter().collect(),
    }
}

/// The route over all edges. Each edge counts the same, because nobody knows how the users are spread over them.
fn merged_route(routes: &[&RouteState], first: &RouteState) -> RouteState {
    let shares = shares_over(routes);
    let active = match routes.iter().all(|route| route.active == first.active) {
        true => first.active.clone(),
        false => largest(&shares).unwrap_or_else(|| first.active.clone()),
    };
    let is_split = shares.keys().any(|slot| *slot != active);
    RouteState {
        active,
        generation: routes.iter().map(|route| route.generation).max().unwrap_or_default(),
        split: is_split.then_some(shares),
        trial: routes.iter().find_map(|route| route.trial.clone()),
        standby: first.standby.clone(),
    }
}

/// The share of each slot that has one, 100 % together. A share that rounds to nothing is the smallest that there is.
fn shares_over(routes: &[&RouteState]) -> Shares {
    let whole = u64::from(Share::WHOLE);
    let mut parts = BTreeMap::<&str, u64>::new();
    for route in routes {
        let mut left = whole;
        for (slot, percent) in route.split.iter().flatten().filter(|(slot, _)| **slot != route.active) {
            let share = u64::from(percent.parts());
            left = left.saturating_sub(share);
            *parts.entry(slot).or_default() += share;
        }
        *parts.entry(&route.active).or_default() += left;
    }
    parts.retain(|_, parts| *parts > 0);
    let edges = routes.len() as u64;
    let mut shares: BTreeMap<&str, u64> =
        parts.into_iter().map(|(slot, parts)| (slot, (parts / edges).max(1))).collect();
    let sum: u64 = shares.values().sum();
    if let Some(most) = shares.values_mut().max() {
        *most = (*most + whole).saturating_sub(sum);
    }
    let percent = |parts| Percent::from_parts(u16::try_from(parts).ok()?);
    shares.into_iter().filter_map(|(slot, parts)| Some((slot.to_owned(), percent(parts)?))).collect()
}

fn largest(shares: &Shares) -> Option<String> {
    shares.iter().max_by_key(|(_, percent)| percent.parts()).map(|(slot, _)| slot.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Peer, Traffic, TrialPhase, TrialState};
    use crate::counters::Counters;
    use crate::guard::Figures;

    fn group(active: &str, ports: &[u16], requests: u64) -> Group {
        let peer = |port: &u16| Peer {
            address: format!("10.0.0.1:{port}"),
            server: None,
            backup: false,
            down: false,
        };
        let slot = |name: &str| Slot {
            name: name.to_owned(),
            peers: ports.iter().map(peer).collect(),
            counters: Counters { requests, in_flight: 1, ..Counters::default() },
            ..Slot::default()
        };
        let route =
            RouteState { active: active.to_owned(), generation: 3, split: None, trial: None, standby: None };
        Group {
            name: "shop".to_owned(),
            route,
            slots: ["blue", "green"].map(slot).into(),
            events: Vec::new(),
        }
    }

    fn merged(groups: &[Group]) -> Group {
        Group::merged(&groups.iter().collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn one_edge_is_as_it_is() {
        let one = group("blue", &[1], 5);
        assert_eq!(merged(std::slice::from_ref(&one)), one);
        assert_eq!(Group::merged(&[]), None);
    }

    #[test]
    fn counters_and_servers_are_added_up() {
        let all = merged(&[group("blue", &[1, 2], 5), group("blue", &[2, 3], 7)]);
        let blue = all.slot("blue").unwrap();
        assert_eq!((blue.counters.requests, blue.counters.in_flight), (12, 2));
        let addresses: Vec<&str> = blue.peers.iter().map(|peer| peer.address.as_str()).collect();
        assert_eq!(addresses, ["10.0.0.1:1", "10.0.0.1:2", "10.0.0.1:3"]);
        assert!(all.route.is_all_on("blue"));
    }

    #[test]
    fn a_backup_that_is_a_server_elsewhere_is_a_server() {
        let (one, mut other) = (group("blue", &[1], 0), group("blue", &[1], 0));
        other.slots[0].peers[0].backup = true;
        assert_eq!(merged(&[other, one]).slot("blue").unwrap().primaries().count(), 1);
    }

    #[test]
    fn a_slot_with_traffic_on_one_edge_has_traffic() {
        for (actives, active, share_of_green) in [
            (["blue", "blue", "green"], "blue", Some(3_333)),
            (["green", "green", "blue"], "green", None),
            (["green", "green", "green"], "green", None),
            (["blue", "blue", "blue"], "blue", None),
        ] {
            let all = merged(&actives.map(|active| group(active, &[1], 0)));
            assert_eq!(all.route.active, active, "{actives:?}");
            let share = all.route.share("green").map(Percent::parts);
            assert_eq!(share, share_of_green, "{actives:?}");
            let is_mixed = actives.iter().any(|slot| *slot != actives[0]);
            assert_eq!(!all.route.is_all_on(active), is_mixed, "{actives:?}");
            assert!(all.has_traffic(actives[2]).unwrap().is_routed());
            let sum: u16 = all.route.split.iter().flatten().map(|(_, percent)| percent.parts()).sum();
            assert_eq!(sum, if is_mixed { Share::WHOLE } else { 0 }, "{actives:?}");
        }
    }

    #[test]
    fn the_smallest_share_of_one_edge_does_not_get_lost() {
        let mut one = group("blue", &[1], 0);
        let part = |parts| Percent::from_parts(parts).unwrap();
        one.route.split = Some([("blue".to_owned(), part(9_999)), ("green".to_owned(), part(1))].into());
        let all = merged(&[one, group("blue", &[1], 0), group("blue", &[1], 0)]);
        assert_eq!(all.has_traffic("green"), Some(Traffic::Share { percent: part(1) }));
        assert_eq!(all.route.active, "blue");
    }

    #[test]
    fn a_trial_on_one_edge_is_a_trial() {
        let mut one = group("green", &[1], 0);
        one.route.trial = Some(TrialState {
            slot: "green".to_owned(),
            fallback: "blue".to_owned(),
            phase: TrialPhase::Armed,
            guard: None,
            lease_left_ms: Some(1),
            rescue: false,
            figures: Figures::default(),
        });
        let all = merged(&[group("green", &[1], 0), one]);
        assert!(all.has_traffic("blue").unwrap().is_routed());
    }
}
