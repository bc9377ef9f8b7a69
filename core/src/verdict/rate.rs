//! The test of one rate: over its limit, and worse than the old slot.
//!
//! Two e-processes run side by side. One tests "the rate is at most its limit", the other "the new slot has no larger
//! odds than so many times the old slot's". A version is allowed either, so an alarm needs both: the lesser one is an
//! e-process for "one of them is true". After the switch there is nothing to compare with at the same time. Then both
//! get the same evidence, against a limit that the old slot's figures have raised.

use serde::{Deserialize, Serialize};

use super::limits::RateLimit;
use super::sequential::bernoulli::{self, Count, times_odds};
use super::sequential::interval::upper_bound;
use super::sequential::starts::Starts;
use super::sequential::two_sample;

/// The part of a signal's `alpha` for the case that the old slot's figures were luck.
const FOR_THE_BASELINE: f64 = 0.1;

/// What is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Beside {
    /// The old slot at the same time, in this turn.
    Split {
        /// What the old slot did.
        old: Count,
        /// What is always allowed.
        limit: f64,
        /// How many times the old slot's odds are allowed; `None`: no comparison.
        times: Option<f64>,
    },
    /// A fixed limit: see [`raised`].
    Alone {
        /// What is allowed.
        limit: f64,
    },
}

/// The two e-processes of one rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RateTest {
    absolute: Starts,
    compared: Starts,
    alpha: f64,
}

impl RateTest {
    /// With this part of `alpha`.
    pub fn new(alpha: f64) -> Self {
        let alpha = alpha * (1.0 - FOR_THE_BASELINE);
        let starts = Starts::new(alpha, bernoulli::weights());
        Self { absolute: starts.clone(), compared: starts, alpha }
    }

    /// Adds what happened in a turn, by the seconds since the watch began.
    pub fn observe(&mut self, seconds: f64, new: Count, beside: Beside) {
        self.absolute.reach(seconds, bernoulli::weights());
        self.compared.reach(seconds, bernoulli::weights());
        match beside {
            Beside::Split { old, limit, times } => {
                let absolute = bernoulli::log_ratios(new, limit);
                self.absolute.multiply(absolute);
                self.compared
                    .multiply(times.map_or(absolute, |times| two_sample::log_ratios(new, old, times)));
            }
            Beside::Alone { limit } => {
                let ratios = bernoulli::log_ratios(new, limit);
                self.absolute.multiply(ratios);
                self.compared.multiply(ratios);
            }
        }
    }

    /// How close it is to an alarm: 1 is one.
    pub fn alarm(&self) -> f64 {
        self.absolute.value().min(self.compared.value()) * self.alpha
    }
}

/// The limit beside an old slot that has no traffic now: raised to so many times what it may have done, by the upper bound of its
/// rate.
pub fn raised(limit: &RateLimit, tolerance: f64, old: Count, min_requests: u64, alpha: f64) -> f64 {
    let Some(times) = limit.times else { return limit.max };
    if old.of < min_requests.max(1) {
        return limit.alone.max(limit.max);
    }
    let bound = upper_bound(old, alpha * FOR_THE_BASELINE);
    limit.max.max(times_odds(bound, times * tolerance))
}

/// The same for a signal that is a rate by itself. Figures that are few have a wide bound, which must not hide a bad version:
/// no more is allowed than the old slot's own rate with one more bad answer leads to, and nothing more if it had none.
pub fn raised_rate(limit: &RateLimit, tolerance: f64, old: Count, min_requests: u64, alpha: f64) -> f64 {
    let by_bound = raised(limit, tolerance, old, min_requests, alpha);
    let Some(times) = limit.times.filter(|_| old.of >= min_requests.max(1)) else { return by_bound };
    if old.bad == 0 {
        return limit.max;
    }
    let observed = (old.bad + 1) as f64 / old.of as f64;
    by_bound.min(limit.max.max(times_odds(observed.min(1.0), times * tolerance)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: RateLimit = RateLimit { max: 0.01, times: Some(1.25), alone: 0.01 };

    #[test]
    fn both_have_to_be_refuted() {
        let feed = |old: Count| {
            let mut test = RateTest::new(0.01);
            for second in 0..60 {
                let new = Count { of: 10, bad: 1 };
                test.observe(f64::from(second), new, Beside::Split { old, limit: 0.01, times: Some(1.25) });
            }
            test.alarm() >= 1.0
        };
        assert!(feed(Count { of: 10, bad: 0 }));
        assert!(!feed(Count { of: 10, bad: 1 }), "the old slot does it as well");
    }

    #[test]
    fn the_old_slot_raises_the_limit() {
        let raised = |of, bad| super::raised(&LIMIT, 1.5, Count { of, bad }, 50, 0.004);
        assert_eq!(raised(100_000, 0), 0.01);
        assert!((0.05..0.15).contains(&raised(1_000, 30)), "{}", raised(1_000, 30));
        assert!(raised(60, 0) > 0.1, "60 answers prove little");
        assert_eq!(raised(10, 0), 0.01, "nothing is known");
    }
}
