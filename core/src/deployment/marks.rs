//! What is read just before the switch: the verdict counts from it, and it says what going back would bring back.

use serde::{Deserialize, Serialize};

use crate::counters::Counters;

/// Answers of the old slot that say how it did. Fewer say nothing.
const ENOUGH: u64 = 10;

/// Errors that the new slot would have had if it were as bad as the old one: with fewer answers it may still become so (the rule
/// of three: no error where three were to be expected happens by chance once in twenty times).
const EXPECTED_ERRORS: u128 = 3;

/// The route and both slots just before the switch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// The route's generation: the switch expects it.
    pub generation: u32,
    /// Counters of the new slot: the soak counts from here.
    pub baseline: Counters,
    /// The old slot.
    pub old: Old,
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
    /// Primaries of the old slot that pass their probe.
    pub old_healthy: usize,
    /// The same of the new slot.
    pub new_healthy: usize,
    /// What the new slot has done since the switch.
    pub new_served: Counters,
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
    pub fn was_healthy(&self) -> bool {
        self.healthy > 0
    }

    /// Whether traffic shall go back.
    ///
    /// The measure is what users had and what they have now, not what the configuration lists: a slot that served them with one
    /// server of two is a way back while that one is healthy. At least half of the servers that were healthy must be so still,
    /// or more than the new slot has.
    pub fn way_back(&self, now: &Now) -> WayBack {
        let as_before = now.old_healthy.saturating_mul(2) >= self.healthy;
        if now.old_healthy == 0 || !(as_before || now.old_healthy > now.new_healthy) {
            return WayBack::Sick;
        }
        match self.was_worse_than(&now.new_served) {
            Some(why) => WayBack::Worse(why),
            None => WayBack::Open,
        }
    }

    /// A release that mends a broken version may have errors of its own and still be the better one. The old slot must have been
    /// at least twice as bad: small differences are chance.
    fn was_worse_than(&self, new: &Counters) -> Option<String> {
        let (old_answers, new_answers) = (self.served.answered(), new.answered());
        let (old_errors, new_errors) = (self.served.errors(), new.errors());
        let product = |a: u64, b: u64| u128::from(a) * u128::from(b);
        let (old, new) = (product(old_errors, new_answers), product(new_errors, old_answers));
        let is_evident = old_answers >= ENOUGH && old >= EXPECTED_ERRORS * u128::from(old_answers);
        (is_evident && old >= 2 * new).then(|| {
            format!(
                "was worse before the switch: {old_errors} of its {old_answers} answers were 5xx, of the new version's {new_errors} of {new_answers}"
            )
        })
    }
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
        for (healthy, old_healthy, new_healthy, open) in [
            (2, 2, 2, true),
            (1, 1, 2, true),
            (1, 0, 2, false),
            (2, 1, 2, true),
            (3, 1, 3, false),
            (3, 1, 0, true),
            (10, 4, 10, false),
            (10, 5, 10, true),
            (10, 4, 3, true),
            (0, 0, 1, false),
            (0, 1, 1, true),
        ] {
            let old = Old { servers: 10, healthy, served: Counters::default() };
            let now = Now { old_healthy, new_healthy, new_served: Counters::default() };
            let found = old.way_back(&now) == WayBack::Open;
            assert_eq!(found, open, "{healthy} before, {old_healthy} now, {new_healthy} of the new slot");
        }
    }

    #[test]
    fn a_version_that_was_worse_is_no_way_back() {
        for (old, new, worse) in [
            (served(0, 100), served(98, 2), true),
            (served(100, 0), served(98, 2), false),
            (served(97, 3), served(97, 3), false),
            (served(94, 6), served(97, 3), true),
            (served(94, 6), served(29, 1), false),
            (served(95, 5), served(97, 3), false),
            (served(0, 9), served(98, 2), false),
            (served(0, 100), served(9, 0), true),
            (served(0, 100), served(2, 0), false),
            (served(97, 3), served(90, 0), false),
            (served(97, 3), served(100, 0), true),
            (served(0, 100), served(0, 100), false),
        ] {
            let now = Now { old_healthy: 1, new_healthy: 1, new_served: new };
            let found = Old { servers: 1, healthy: 1, served: old }.way_back(&now);
            assert_eq!(matches!(found, WayBack::Worse(_)), worse, "{old:?} {new:?}");
        }
    }

    #[test]
    fn what_was_worse_has_its_figures() {
        let now = Now { old_healthy: 1, new_healthy: 1, new_served: served(98, 2) };
        let WayBack::Worse(why) = (Old { servers: 1, healthy: 1, served: served(0, 100) }).way_back(&now)
        else {
            panic!()
        };
        assert_eq!(
            why,
            "was worse before the switch: 100 of its 100 answers were 5xx, of the new version's 2 of 100"
        );
    }
}
