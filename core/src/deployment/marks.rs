//! Marks: the readings just before the switch. The soak counts from them, and a rollback compares both slots with them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Revision, Time};
use crate::counters::Counters;
use crate::verdict::evidence::Evidence;
use crate::verdict::reading::Sample;

/// Minimum number of answers of the old slot for a judgement.
const ENOUGH: u64 = 10;

/// A version is broken if at least one of this many answers was an error.
const BROKEN: u64 = 10;

/// Number of errors that the new slot would be expected to have if it were as bad as the old one. With fewer expected errors there
/// are too few answers to compare (rule of three: zero errors where three are expected has a probability of 5 %).
const EXPECTED_ERRORS: u128 = 3;

/// The route and both slots just before the switch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// The route, by the name of the edge.
    pub edges: BTreeMap<String, Mark>,
    /// The old slot.
    pub old: Old,
    /// What the old slot did from some minutes before the start of the deployment to the switch.
    #[serde(default)]
    pub known: Evidence,
    /// When the new slot first got traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
}

/// The route on one edge just before the switch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The revision that the switch expects.
    pub expected: Revision,
    /// The revision after the switch. If it differs, the route was moved since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switched: Option<Revision>,
    /// Whether an earlier step has moved the route.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub moved: bool,
    /// Counters of the old slot.
    #[serde(default)]
    pub old: Option<Sample>,
    /// Counters of the new slot. The soak counts from here.
    pub baseline: Sample,
}

impl Marks {
    /// The marks with the revisions after the switch.
    pub(super) fn after(mut self, revisions: BTreeMap<String, Revision>, now: Time) -> Self {
        self.since.get_or_insert(now);
        for (edge, revision) in revisions {
            if let Some(mark) = self.edges.get_mut(&edge) {
                mark.switched = Some(revision);
            }
        }
        self
    }

    /// The marks for the next step: it expects what the last one left. The counters stay those before the first step.
    pub(super) fn before_next(mut self) -> Self {
        for mark in self.edges.values_mut() {
            if let Some(revision) = mark.switched.take() {
                mark.expected = revision;
                mark.moved = true;
            }
        }
        self
    }

    /// Whether this deployment has given the new slot traffic in an earlier step.
    pub(super) fn has_moved(&self) -> bool {
        self.edges.values().any(|mark| mark.moved)
    }
}

/// The old slot just before the switch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Old {
    /// Number of its primaries.
    pub servers: usize,
    /// Number of primaries that passed their probe.
    pub healthy: usize,
    /// What it served since the start of the deployment.
    pub served: Counters,
}

/// Both slots when the traffic should go back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Number of primaries of the old slot.
    pub old_servers: usize,
    /// Number of its primaries that pass their probe.
    pub old_healthy: usize,
    /// Number of primaries of the new slot that pass their probe.
    pub new_healthy: usize,
    /// What the new slot served since the switch. `None` if the new version was not judged by its answers.
    pub since_switch: Option<Counters>,
    /// What the new slot served in the last moments. A good start does not outweigh it.
    pub lately: Option<Counters>,
}

impl Now {
    /// Healthy servers of the new slot, scaled by its share of good answers: a server may pass its probe and fail users.
    fn new_servers(&self) -> usize {
        let lately = self.lately.filter(says_something);
        let Some(seen) = lately.or(self.since_switch) else { return self.new_healthy };
        match seen.answered() {
            // No request has an answer, or there was no request.
            0 if seen.requests > 0 => 0,
            0 => self.new_healthy,
            answered => {
                let good = u128::from(answered.saturating_sub(seen.errors()));
                let servers = (self.new_healthy as u128 * good).div_ceil(u128::from(answered));
                usize::try_from(servers).unwrap_or(self.new_healthy)
            }
        }
    }
}

/// Whether traffic can go back to the old slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WayBack {
    /// The old slot is better for users than the new one.
    Open,
    /// Too few of its servers are healthy now. A later try may succeed.
    Sick,
    /// It answered worse than the new slot does. A later try gives the same result. The text completes `slot "blue" ..`.
    Worse(String),
}

impl Old {
    /// Whether the old slot was usable. For a first release it was not.
    pub fn was_there(&self) -> bool {
        self.healthy > 0 || self.good_answers() > 0
    }

    /// Number of answers to users that were not errors.
    pub fn good_answers(&self) -> u64 {
        self.served.answered().saturating_sub(self.served.errors())
    }

    /// Whether `healthy` of `servers` is at least half of the servers that were healthy before, or of those that the slot has now.
    pub fn is_as_before(&self, healthy: usize, servers: usize) -> bool {
        healthy > 0 && healthy.saturating_mul(2) >= self.healthy.min(servers)
    }

    /// Decides whether traffic goes back.
    ///
    /// It compares what users had with what they have now, not with the configuration. A slot that served users with one server of
    /// two remains usable while that server is healthy. The old slot must be as healthy as before, or have more healthy
    /// servers than the new one.
    pub fn way_back(&self, now: &Now) -> WayBack {
        let is_better = now.old_healthy > now.new_servers();
        if now.old_healthy == 0 || !(is_better || self.is_as_before(now.old_healthy, now.old_servers)) {
            return WayBack::Sick;
        }
        match self.was_worse(now) {
            Some(why) => WayBack::Worse(why),
            None => WayBack::Open,
        }
    }

    /// Returns why the old slot was worse. A release that fixes a broken version may have errors and still be the better one.
    /// The old version must have been broken and at least twice as bad as the new one, both since the switch and lately.
    /// Smaller differences may be chance.
    fn was_worse(&self, now: &Now) -> Option<String> {
        let new = now.since_switch.filter(|_| now.new_healthy > 0)?;
        let lately = now.lately.filter(says_something);
        let (errors, answers) = (self.served.errors(), self.served.answered());
        let is_broken = answers >= ENOUGH && errors.saturating_mul(BROKEN) >= answers;
        let is_evident = product(errors, new.answered()) >= EXPECTED_ERRORS * u128::from(answers);
        let is_twice_as_bad_as = |new: &Counters| {
            new.answered() > 0 && product(errors, new.answered()) >= 2 * product(new.errors(), answers)
        };
        let is_worse = is_twice_as_bad_as(&new) && lately.is_none_or(|lately| is_twice_as_bad_as(&lately));
        (is_broken && is_evident && is_worse).then(|| {
            format!(
                "was worse before the switch: {errors} of its {answers} answers were 5xx, of the new version's {} of {}",
                new.errors(),
                new.answered()
            )
        })
    }
}

fn says_something(seen: &Counters) -> bool {
    seen.requests > 0 || seen.answered() > 0
}

fn product(a: u64, b: u64) -> u128 {
    u128::from(a) * u128::from(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Responses;

    fn served(success: u64, server_error: u64) -> Counters {
        Counters {
            responses: Responses { success, server_error, ..Responses::default() },
            ..Counters::default()
        }
    }

    #[test]
    fn as_many_as_served_before_are_enough() {
        for (healthy, old_healthy, old_servers, new_healthy, open) in [
            (2, 2, 2, 2, true),
            (1, 1, 2, 2, true),
            (1, 0, 2, 2, false),
            (2, 1, 2, 2, true),
            (3, 1, 3, 3, false),
            (3, 1, 3, 0, true),
            (10, 4, 10, 10, false),
            (10, 5, 10, 10, true),
            (10, 4, 10, 3, true),
            (10, 3, 3, 10, true),
            (0, 0, 1, 1, false),
            (0, 1, 1, 1, true),
        ] {
            let old = Old { servers: 10, healthy, served: Counters::default() };
            let now = Now { old_healthy, old_servers, new_healthy, ..Now::default() };
            let found = old.way_back(&now) == WayBack::Open;
            assert_eq!(
                found, open,
                "{healthy} before, {old_healthy} of {old_servers} now, {new_healthy} of the new slot"
            );
        }
    }

    #[test]
    fn servers_that_fail_users_do_not_count_however_healthy_their_page_is() {
        let old = Old { servers: 3, healthy: 3, served: served(100, 0) };
        let now = Now { old_healthy: 1, old_servers: 3, new_healthy: 3, ..Now::default() };
        let unanswered = Counters { requests: 5, ..Counters::default() };
        for (since_switch, lately, open) in [
            (served(0, 100), None, true),
            (served(98, 2), None, false),
            (served(1_000, 11), Some(served(0, 20)), true),
            (served(1_000, 11), Some(unanswered), true),
            (served(1_000, 11), Some(served(20, 0)), false),
            (served(0, 100), Some(Counters::default()), true),
        ] {
            let found = old.way_back(&Now { since_switch: Some(since_switch), lately, ..now });
            assert_eq!(found == WayBack::Open, open, "{since_switch:?} {lately:?}");
        }
    }

    #[test]
    fn a_version_that_was_worse_is_no_way_back() {
        let unanswered = Counters { requests: 5, ..Counters::default() };
        for (old, new, lately, worse) in [
            (served(0, 100), served(98, 2), None, true),
            (served(100, 0), served(98, 2), None, false),
            (served(97, 3), served(100, 0), None, false),
            (served(80, 20), served(80, 20), None, false),
            (served(80, 20), served(90, 10), None, true),
            (served(80, 20), served(85, 15), None, false),
            (served(0, 9), served(98, 2), None, false),
            (served(0, 100), served(9, 0), None, true),
            (served(0, 100), served(2, 0), None, false),
            (served(0, 100), served(0, 100), None, false),
            (served(0, 100), served(1_000, 20), Some(served(0, 20)), false),
            (served(0, 100), served(1_000, 20), Some(unanswered), false),
            (served(0, 100), served(1_000, 20), Some(served(20, 1)), true),
            (served(0, 100), served(9, 0), Some(Counters::default()), true),
        ] {
            let now = Now { old_healthy: 1, old_servers: 1, new_healthy: 1, since_switch: Some(new), lately };
            let before = Old { servers: 1, healthy: 1, served: old };
            assert_eq!(
                matches!(before.way_back(&now), WayBack::Worse(_)),
                worse,
                "{old:?} {new:?} {lately:?}"
            );
            let dead = before.way_back(&Now { new_healthy: 0, ..now });
            assert_eq!(dead, WayBack::Open, "the new slot is dead: {old:?} {new:?}");
        }
    }

    #[test]
    fn what_was_worse_has_its_figures() {
        let now = Now {
            old_healthy: 1,
            old_servers: 1,
            new_healthy: 1,
            since_switch: Some(served(98, 2)),
            lately: None,
        };
        let old = Old { servers: 1, healthy: 1, served: served(0, 100) };
        let expected =
            "was worse before the switch: 100 of its 100 answers were 5xx, of the new version's 2 of 100";
        assert_eq!(old.way_back(&now), WayBack::Worse(expected.to_owned()));
    }
}
