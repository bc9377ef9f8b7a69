//! Is the rate of one slot over its limit? A mixture of likelihood ratios.
//!
//! For an alternative `p` above the limit `q`, each bad answer multiplies the e-process by `p / q` and each good one by
//! `(1 - p) / (1 - q)`. While the true rate is at most `q`, the expected factor is at most 1. The alternatives are
//! multiples of the limit's odds, so the same list serves a limit of 0.1 % and one of 50 %. This is Robbins' mixture
//! (1970) over a list instead of a density: `scripts/check-confseq` compares it with the betting martingale of the package
//! confseq (Howard, Ramdas, McAuliffe, Sekhon, Annals of Statistics 2021).

use serde::{Deserialize, Serialize};

/// Bad ones among all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// How many there are.
    pub of: u64,
    /// How many of them are bad.
    pub bad: u64,
}

impl Count {
    /// Adds more of the same kind.
    pub fn add(&mut self, more: Count) {
        self.of = self.of.saturating_add(more.of);
        self.bad = self.bad.saturating_add(more.bad);
    }

    /// The bad part; 0 of nothing.
    pub fn ratio(&self) -> f64 {
        self.bad as f64 / self.of.max(1) as f64
    }
}

/// The alternatives: how many times the odds of the limit, and with which weight.
pub const ALTERNATIVES: [(f64, f64); 8] = [
    (1.5, 0.22),
    (2.05, 0.22),
    (3.2, 0.12),
    (5.3, 0.13),
    (10.0, 0.10),
    (25.0, 0.11),
    (90.0, 0.06),
    (600.0, 0.04),
];

/// The weights of [`ALTERNATIVES`].
pub fn weights() -> impl Iterator<Item = f64> {
    ALTERNATIVES.iter().map(|(_, weight)| *weight)
}

/// A limit of 0 has no alternatives. This one is less than a version can prove, so it means the same.
const LEAST_LIMIT: f64 = 1e-9;

/// The logarithms of the likelihood ratios of this evidence against a limit, one for each alternative.
pub fn log_ratios(count: Count, limit: f64) -> [f64; ALTERNATIVES.len()] {
    if limit >= 1.0 {
        return [0.0; ALTERNATIVES.len()];
    }
    let limit = limit.max(LEAST_LIMIT);
    let (bad, good) = (count.bad as f64, count.of.saturating_sub(count.bad) as f64);
    ALTERNATIVES.map(|(times, _)| {
        // With odds of `times * q / (1 - q)`, `(1 - p) / (1 - q)` is `1 / (1 - q + times * q)`.
        let shrink = -(limit * (times - 1.0)).ln_1p();
        bad * (times.ln() + shrink) + good * shrink
    })
}

/// The probability with so many times the odds.
pub fn times_odds(probability: f64, times: f64) -> f64 {
    if probability >= 1.0 {
        return 1.0;
    }
    let odds = times * probability.max(0.0) / (1.0 - probability);
    odds / (1.0 + odds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weights_add_up_to_one() {
        assert!((weights().sum::<f64>() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn at_the_limit_the_expected_factor_is_one_and_below_it_is_less() {
        for limit in [0.001, 0.01, 0.05, 0.5] {
            let bad = log_ratios(Count { of: 1, bad: 1 }, limit);
            let good = log_ratios(Count { of: 1, bad: 0 }, limit);
            for (bad, good) in bad.iter().zip(good) {
                let expected = |rate: f64| rate * bad.exp() + (1.0 - rate) * good.exp();
                assert!((expected(limit) - 1.0).abs() < 1e-12);
                assert!(expected(0.9 * limit) < 1.0);
                assert!(expected(1.1 * limit) > 1.0);
            }
        }
    }

    #[test]
    fn odds() {
        assert!((times_odds(0.5, 3.0) - 0.75).abs() < 1e-12);
        assert!((times_odds(0.01, 2.0) - 0.0198).abs() < 1e-4);
        assert_eq!((times_odds(0.0, 9.0), times_odds(1.0, 2.0)), (0.0, 1.0));
    }
}
