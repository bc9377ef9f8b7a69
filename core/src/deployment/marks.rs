//! What is read just before the switch: the verdict counts from it, and it says what going back would bring back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Revision;
use crate::counters::Counters;

/// Answers of the old slot that say how it did. Fewer say nothing.
const ENOUGH: u64 = 10;

/// One answer of so many must have been an error for a version to be called broken.
const BROKEN: u64 = 10;

/// Errors that the new slot would have had if it were as bad as the old one: with fewer answers it may still become so (the rule
/// of three: no error where three were to be expected happens by chance once in twenty times).
const EXPECTED_ERRORS: u128 = 3;

/// The route and both slots just before the switch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// The route, by the name of the edge.
    pub edges: BTreeMap<String, Mark>,
    /// The old slot.
    pub old: Old,
}

/// The route on one edge just before the switch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The revision that the switch expects.
    pub expected: Revision,
    /// The revision after the switch; another one means that the route was moved since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switched: Option<Revision>,
    /// Counters of the new slot: the soak counts from here.
    pub baseline: Counters,
}

impl Marks {
    /// The same after the switch, with the revisions that it led to.
    pub(super) fn after(mut self, revisions: BTreeMap<String, Revision>) -> Self {
        for (edge, revision) in revisions {
            if let Some(mark) = self.edges.get_mut(&edge) {
                mark.switched = Some(revision);
            }
        }
        self
    }
}

/// The old slot as users had it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Old {
    /// Its primaries.
    pub servers: usize,
    /// Those of them that passed their probe.
    pub healthy: usize,
    /// What it has done since the deployment began.
    pub served: Counters,
}

/// Both slots now that the traffic should go back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Primaries that the old slot has now.
    pub old_servers: usize,
    /// Those of them that pass their probe.
    pub old_healthy: usize,
    /// Primaries of the new slot that pass their probe.
    pub new_healthy: usize,
    /// What the new slot has done since the switch; absent: it was not judged by what it did to users.
    pub since_switch: Option<Counters>,
    /// What it has done in the last moments: good minutes before them are no comfort.
    pub lately: Option<Counters>,
}

impl Now {
    /// Servers of the new slot that are any good to users: what is healthy for a probe and fails users counts by its good answers.
    fn new_servers(&self) -> usize {
        let lately = self.lately.filter(says_something);
        let Some(seen) = lately.or(self.since_switch) else { return self.new_healthy };
        match seen.answered() {
            // Requests that nobody has answered, or none.
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

/// Whether the old slot is better than what users have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WayBack {
    /// It is.
    Open,
    /// Too few of its servers are healthy now; that may pass.
    Sick,
    /// It answered worse than the new one does; that stays so. The text completes `slot "blue" ..`.
    Worse(String),
}

impl Old {
    /// Whether there is something to go back to. A first release has no version before it.
    pub fn was_there(&self) -> bool {
        self.healthy > 0 || self.good_answers() > 0
    }

    /// Answers to users that were no errors.
    pub fn good_answers(&self) -> u64 {
        self.served.answered().saturating_sub(self.served.errors())
    }

    /// Whether so many healthy servers are like before: at least half of those that were healthy, or of those that the slot
    /// has now.
    pub fn is_as_before(&self, healthy: usize, servers: usize) -> bool {
        healthy > 0 && healthy.saturating_mul(2) >= self.healthy.min(servers)
    }

    /// Whether traffic shall go back.
    ///
    /// The measure is what users had and what they have now, not what the configuration lists: a slot that served them with one
    /// server of two is a way back while that one is healthy. The old slot must be as before, or have more than the new one.
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

    /// A release that mends a broken version may have errors of its own and still be the better one. The old version must have been
    /// broken, and at least twice as bad, since the switch and lately: small differences are chance.
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
