//! The soak: a verdict on the new slot from its counters.
//!
//! The soak adds the difference between consecutive snapshots. A restart of nginx resets the counters and so loses at most the
//! requests between two snapshots. During a binary upgrade, two nginx answer in turn, each with its own counters. So a snapshot is
//! compared with the closest earlier snapshot that it can continue. The verdict counts only requests that got an answer: a request
//! whose client went away is neither a success nor a failure.
//!
//! | counters | verdict |
//! |---|---|
//! | the first [`Limits::first`] answers are all 5xx, or all attempts failed | Bad, at once |
//! | `min_requests` reached, limit exceeded | Bad, at once |
//! | time over, limit exceeded with fewer requests | Bad |
//! | time over, fewer than `min_requests` | Inconclusive |
//! | time over, limits kept | Good |

use serde::{Deserialize, Serialize};

use crate::counters::{Counters, Responses};

/// The limits for the new slot.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// With fewer answers at the end the verdict is Inconclusive.
    pub min_requests: u64,
    /// Maximum share of 5xx answers, 0 to 1.
    pub max_error_ratio: f64,
    /// Maximum share of failed attempts, 0 to 1.
    pub max_failed_attempts_ratio: f64,
}

impl Limits {
    /// Number of failures without any success that ends the soak at once, so a slot that does not work at all fails fewer users.
    pub fn first(&self) -> u64 {
        self.min_requests.clamp(1, 10)
    }
}

/// The result of the soak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Enough requests, and the limits were kept.
    Good(String),
    /// A limit was exceeded.
    Bad(String),
    /// Too few requests.
    Inconclusive(String),
}

/// Number of snapshots that are kept: one for each nginx that answers in turn, and a few of nginx processes that have ended.
const MOST_LINES: usize = 4;

/// The counters of the new slot since the switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Soak {
    /// The last snapshot of each nginx that answered, the newest last.
    lines: Vec<Counters>,
    seen: Counters,
}

impl Soak {
    /// Starts at `baseline`, the counters of the slot before the switch.
    pub fn new(baseline: Counters) -> Self {
        Self { lines: vec![baseline], seen: Counters::default() }
    }

    /// Adds a later snapshot.
    pub fn observe(&mut self, now: &Counters) {
        let continued = (0..self.lines.len())
            .filter(|line| self.lines.get(*line).is_some_and(|last| !went_back(last, now)))
            .max_by_key(|line| self.lines.get(*line).map(|last| last.requests));
        let base = match continued {
            Some(line) => self.lines.remove(line),
            None => Counters::default(),
        };
        add(&mut self.seen, &now.since(&base));
        self.lines.push(*now);
        if self.lines.len() > MOST_LINES {
            self.lines.remove(0);
        }
    }

    /// The counters since the baseline.
    pub fn seen(&self) -> &Counters {
        &self.seen
    }

    /// The verdict Bad, if it is clear before the time is over.
    pub fn early(&self, limits: &Limits) -> Option<Verdict> {
        let answered = self.seen.answered();
        let errors = self.seen.errors();
        let Counters { attempts, attempts_failed, .. } = self.seen;
        if answered >= limits.first() && errors == answered {
            return Some(Verdict::Bad(format!("all of the first {answered} answers were 5xx")));
        }
        if attempts >= limits.first() && attempts_failed == attempts {
            return Some(Verdict::Bad(format!("all of the first {attempts} attempts failed")));
        }
        if answered >= limits.min_requests
            && let Some(why) = self.errors_over(limits)
        {
            return Some(Verdict::Bad(why));
        }
        if attempts >= limits.min_requests {
            return self.attempts_over(limits).map(Verdict::Bad);
        }
        None
    }

    /// The verdict when time is over.
    pub fn last(&self, limits: &Limits) -> Verdict {
        if let Some(bad) = self.early(limits) {
            return bad;
        }
        if let Some(why) = self.errors_over(limits).or_else(|| self.attempts_over(limits)) {
            return Verdict::Bad(why);
        }
        if self.seen.answered() < limits.min_requests {
            let (answered, min) = (self.seen.answered(), limits.min_requests);
            return Verdict::Inconclusive(format!("only {answered} answers, and a verdict needs {min}"));
        }
        Verdict::Good(self.figures())
    }

    /// The figures, for people.
    pub fn figures(&self) -> String {
        let Counters { attempts, attempts_failed, .. } = self.seen;
        let errors = self.seen.errors();
        format!(
            "{} answers, {errors} of them 5xx; {attempts} attempts, {attempts_failed} of them failed",
            self.seen.answered()
        )
    }

    fn errors_over(&self, limits: &Limits) -> Option<String> {
        over(self.seen.errors(), self.seen.answered(), limits.max_error_ratio, "answers were 5xx")
    }

    fn attempts_over(&self, limits: &Limits) -> Option<String> {
        let Counters { attempts, attempts_failed, .. } = self.seen;
        over(attempts_failed, attempts, limits.max_failed_attempts_ratio, "attempts failed")
    }
}

fn over(part: u64, whole: u64, limit: f64, what: &str) -> Option<String> {
    let broken = part as f64 > limit * whole as f64;
    broken.then(|| {
        let percent = 100.0 * part as f64 / whole.max(1) as f64;
        format!("{part} of {whole} {what}: {percent:.1} %, the limit is {} %", (limit * 1e6).round() / 1e4)
    })
}

/// Whether any total decreased. One is enough to know that nginx has restarted its counters, because the others may have caught up.
fn went_back(then: &Counters, now: &Counters) -> bool {
    let (a, b) = (&then.responses, &now.responses);
    [
        (then.requests, now.requests),
        (then.attempts, now.attempts),
        (then.attempts_failed, now.attempts_failed),
        (a.informational, b.informational),
        (a.success, b.success),
        (a.redirection, b.redirection),
        (a.client_error, b.client_error),
        (a.server_error, b.server_error),
        (a.aborted, b.aborted),
        (a.rescued, b.rescued),
    ]
    .iter()
    .any(|(then, now)| now < then)
}

fn add(sum: &mut Counters, more: &Counters) {
    let plus = u64::saturating_add;
    let (a, b) = (sum.responses, more.responses);
    *sum = Counters {
        requests: plus(sum.requests, more.requests),
        attempts: plus(sum.attempts, more.attempts),
        attempts_failed: plus(sum.attempts_failed, more.attempts_failed),
        responses: Responses {
            informational: plus(a.informational, b.informational),
            success: plus(a.success, b.success),
            redirection: plus(a.redirection, b.redirection),
            client_error: plus(a.client_error, b.client_error),
            server_error: plus(a.server_error, b.server_error),
            aborted: plus(a.aborted, b.aborted),
            rescued: plus(a.rescued, b.rescued),
        },
        in_flight: more.in_flight,
    };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits =
        Limits { min_requests: 50, max_error_ratio: 0.01, max_failed_attempts_ratio: 0.05 };

    fn counters(success: u64, server_error: u64, attempts_failed: u64) -> Counters {
        let requests = success + server_error;
        Counters {
            requests,
            attempts: requests,
            attempts_failed,
            responses: Responses { success, server_error, ..Responses::default() },
            in_flight: 0,
        }
    }

    fn soak(now: Counters) -> Soak {
        let mut soak = Soak::new(Counters::default());
        soak.observe(&now);
        soak
    }

    #[test]
    fn verdicts() {
        let bad = |verdict: &Verdict| matches!(verdict, Verdict::Bad(_));
        for (name, now, early_is_bad, last) in [
            ("nothing at all", counters(0, 0, 0), false, "inconclusive"),
            ("few and good", counters(49, 0, 0), false, "inconclusive"),
            ("enough and good", counters(50, 0, 0), false, "good"),
            ("exactly at the limit", counters(99, 1, 0), false, "good"),
            ("just over the limit", counters(98, 2, 0), true, "bad"),
            ("one of fifty is over one percent", counters(49, 1, 0), true, "bad"),
            ("one of ten: wait for more", counters(9, 1, 0), false, "bad"),
            ("nine failures and nothing else", counters(0, 9, 0), false, "bad"),
            ("ten failures and nothing else", counters(0, 10, 0), true, "bad"),
            ("retries hide dead peers", counters(100, 0, 6), true, "bad"),
            ("a few failed attempts", counters(100, 0, 5), false, "good"),
        ] {
            let soak = soak(now);
            assert_eq!(soak.early(&LIMITS).as_ref().is_some_and(bad), early_is_bad, "{name}");
            let found = match soak.last(&LIMITS) {
                Verdict::Good(_) => "good",
                Verdict::Bad(_) => "bad",
                Verdict::Inconclusive(_) => "inconclusive",
            };
            assert_eq!(found, last, "{name}");
        }
    }

    #[test]
    fn a_reason_has_its_figures() {
        let verdict = soak(counters(90, 10, 0)).early(&LIMITS);
        let expected = "10 of 100 answers were 5xx: 10.0 %, the limit is 1 %";
        assert_eq!(verdict, Some(Verdict::Bad(expected.to_owned())));
    }

    #[test]
    fn clients_that_gave_up_prove_nothing() {
        let mut now = counters(10, 0, 0);
        now.responses.aborted = 1000;
        assert!(matches!(soak(now).last(&LIMITS), Verdict::Inconclusive(_)));
    }

    #[test]
    fn what_was_before_the_switch_does_not_count() {
        let mut soak = Soak::new(counters(1000, 500, 500));
        soak.observe(&counters(1100, 500, 500));
        assert_eq!(soak.last(&LIMITS), Verdict::Good(soak.figures()));
        assert_eq!(soak.seen().requests, 100);
    }

    #[test]
    fn errors_of_before_and_after_a_restart_add_up() {
        let mut soak = Soak::new(Counters::default());
        soak.observe(&counters(60, 0, 0));
        soak.observe(&counters(20, 20, 0));
        assert_eq!((soak.seen().requests, soak.seen().responses.server_error), (100, 20));
        assert!(matches!(soak.early(&LIMITS), Some(Verdict::Bad(_))));
    }

    #[test]
    fn a_restart_is_seen_although_the_requests_have_caught_up() {
        let mut soak = Soak::new(Counters::default());
        soak.observe(&counters(100, 0, 0));
        soak.observe(&counters(99, 2, 0));
        assert_eq!(soak.seen().responses.server_error, 2);
        assert_eq!(soak.seen().requests, 201, "101 that nginx has counted since it was restarted");
        assert_eq!(soak.early(&LIMITS), None);
    }

    #[test]
    fn two_nginx_that_answer_by_turns_are_not_mixed_up() {
        let mut soak = Soak::new(counters(1_000_000, 50_000, 0));
        for turn in 1..10 {
            soak.observe(&counters(1_000_000 + turn, 50_000, 0));
            soak.observe(&counters(turn * 10, 0, 0));
        }
        assert_eq!((soak.seen().requests, soak.seen().responses.server_error), (99, 0));
    }

    #[test]
    fn errors_late_in_a_good_soak_are_seen() {
        let mut soak = Soak::new(Counters::default());
        soak.observe(&counters(1000, 0, 0));
        assert_eq!(soak.early(&LIMITS), None);
        soak.observe(&counters(1000, 11, 0));
        assert!(matches!(soak.early(&LIMITS), Some(Verdict::Bad(_))));
    }

    proptest! {
        #[test]
        fn no_walk_of_the_counters_panics_or_is_good_with_too_few(
            walk in proptest::collection::vec((0u64.., 0u64.., 0u64..), 0..20)
        ) {
            let mut soak = Soak::new(Counters::default());
            for (success, errors, failed) in walk {
                let shrink = |value: u64| value >> 8;
                soak.observe(&counters(shrink(success), shrink(errors), shrink(failed)));
                let _ = soak.early(&LIMITS);
            }
            if matches!(soak.last(&LIMITS), Verdict::Good(_)) {
                prop_assert!(soak.seen().answered() >= LIMITS.min_requests);
                prop_assert!(soak.seen().responses.server_error as f64 <= 0.01 * soak.seen().answered() as f64);
            }
        }

        #[test]
        fn without_errors_nothing_is_bad(walk in proptest::collection::vec(0u64..1_000_000, 1..20)) {
            let mut soak = Soak::new(Counters::default());
            for success in walk {
                soak.observe(&counters(success, 0, 0));
                prop_assert_eq!(soak.early(&LIMITS), None);
            }
            prop_assert!(!matches!(soak.last(&LIMITS), Verdict::Bad(_)));
        }
    }
}
