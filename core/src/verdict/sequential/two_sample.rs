//! Does the new slot fail more often than the old one, given how the traffic is split?
//!
//! In each turn, how many answers each slot gave and how many of all were bad is taken as given. The only question is how
//! many of the bad ones the new slot owns. With equal odds this number is hypergeometric, with other odds it has Fisher's
//! noncentral hypergeometric distribution, and the ratio of two of them multiplies the e-process. So errors that both
//! slots have, and waves of them, are no evidence: only who owns them is. (Fisher 1935; Turner, Ly, Grünwald, "Generic
//! e-variables for exact sequential k-sample tests", 2021, arXiv 2106.02693, treat the same problem without conditioning.)

use super::bernoulli::{ALTERNATIVES, Count};
use super::special::ln_choose;

/// The logarithms of the likelihood ratios against "the new slot's odds are at most `times` the old slot's".
pub fn log_ratios(new: Count, old: Count, times: f64) -> [f64; ALTERNATIVES.len()] {
    let Some(owner) = Owner::of(new, old) else { return [0.0; ALTERNATIVES.len()] };
    let null = owner.ln_normalizer(times);
    ALTERNATIVES.map(|(more, _)| owner.owned as f64 * more.ln() + null - owner.ln_normalizer(times * more))
}

/// The logarithm of the likelihood ratio of the odds `times` against equal odds.
pub(super) fn log_ratio(new: Count, old: Count, times: f64) -> f64 {
    Owner::of(new, old).map_or(0.0, |owner| {
        // With equal odds the sum is known: Vandermonde's identity.
        let null = ln_choose(owner.new + owner.old, owner.bad);
        owner.owned as f64 * times.ln() + null - owner.ln_normalizer(times)
    })
}

/// More answers in one turn are no traffic but a damaged counter: nothing is concluded. The sums below take time by the root
/// of this.
const MOST: u64 = 1 << 24;

/// Who owns the bad answers.
#[derive(Clone, Copy, Debug)]
struct Owner {
    new: u64,
    old: u64,
    bad: u64,
    /// Bad answers of the new slot.
    owned: u64,
}

impl Owner {
    /// Nothing where only one outcome is possible.
    fn of(new: Count, old: Count) -> Option<Self> {
        let owner = Self {
            new: new.of,
            old: old.of,
            bad: new.bad.min(new.of) + old.bad.min(old.of),
            owned: new.bad.min(new.of),
        };
        let sane = owner.new <= MOST && owner.old <= MOST;
        (sane && owner.least() < owner.most()).then_some(owner)
    }

    fn least(&self) -> u64 {
        self.bad.saturating_sub(self.old)
    }

    fn most(&self) -> u64 {
        self.bad.min(self.new)
    }

    /// The logarithm of the sum over all `k` of `choose(new, k) * choose(old, bad - k) * odds^k`, from its largest term outwards.
    fn ln_normalizer(&self, odds: f64) -> f64 {
        let (least, most) = (self.least(), self.most());
        let mode = self.mode(odds).clamp(least, most);
        let largest =
            ln_choose(self.new, mode) + ln_choose(self.old, self.bad - mode) + mode as f64 * odds.ln();
        let mut sum = 1.0;
        let mut term = 1.0;
        for k in mode..most {
            term *= self.step(k, odds);
            sum += term;
            if term < 1e-15 * sum {
                break;
            }
        }
        term = 1.0;
        for k in (least..mode).rev() {
            term /= self.step(k, odds);
            sum += term;
            if term < 1e-15 * sum {
                break;
            }
        }
        largest + sum.ln()
    }

    /// The term of `k + 1` by that of `k`.
    fn step(&self, k: u64, odds: f64) -> f64 {
        let numerator = (self.new - k) as f64 * (self.bad - k) as f64;
        let denominator = (k + 1) as f64 * (self.old + k + 1 - self.bad) as f64;
        odds * numerator / denominator
    }

    /// Where the terms stop growing: `step` is 1.
    fn mode(&self, odds: f64) -> u64 {
        let (new, old, bad) = (self.new as f64, self.old as f64, self.bad as f64);
        let a = odds - 1.0;
        let b = (new + bad + 2.0) * odds + old - bad;
        let c = (new + 1.0) * (bad + 1.0) * odds;
        // The smaller root of `a k^2 - b k + c`, in the form that keeps its digits.
        let root = (b * b - 4.0 * a * c).max(0.0).sqrt();
        (2.0 * c / (b + root)) as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn count(of: u64, bad: u64) -> Count {
        Count { of, bad }
    }

    #[test]
    fn one_bad_answer_has_one_owner() {
        let ratio = |new, old| log_ratio(new, old, 3.0).exp();
        // Equal traffic: it is the new slot's with 1/2, or 3/4 under the alternative.
        assert!((ratio(count(10, 1), count(10, 0)) - 1.5).abs() < 1e-12);
        assert!((ratio(count(10, 0), count(10, 1)) - 0.5).abs() < 1e-12);
        assert_eq!(ratio(count(10, 0), count(10, 0)), 1.0);
        assert_eq!(ratio(count(10, 3), count(0, 0)), 1.0);
        assert_eq!(ratio(count(4, 4), count(4, 4)), 1.0);
    }

    proptest! {
        /// The exact expectation over all outcomes, with the odds of the hypothesis.
        #[test]
        fn the_expected_factor_is_one(new in 1u64..40, old in 1u64..40, bad in 0u64..80, times in 0.5f64..4.0) {
            let bad = bad.min(new + old);
            let mut total = 0.0;
            let mut expected = [0.0; ALTERNATIVES.len()];
            for owned in bad.saturating_sub(old)..=bad.min(new) {
                let weight = (ln_choose(new, owned) + ln_choose(old, bad - owned) + owned as f64 * times.ln()).exp();
                total += weight;
                let ratios = log_ratios(count(new, owned), count(old, bad - owned), times);
                expected.iter_mut().zip(ratios).for_each(|(sum, ratio)| *sum += weight * ratio.exp());
            }
            for sum in expected {
                prop_assert!((sum / total - 1.0).abs() < 1e-8, "{}", sum / total);
            }
        }

        #[test]
        fn more_of_the_bad_ones_are_more_evidence(new in 2u64..1000, old in 1u64..1000, bad in 1u64..50) {
            let bad = bad.min(new).min(old);
            for owned in 0..bad {
                let less = log_ratio(count(new, owned), count(old, bad - owned), 2.0);
                let more = log_ratio(count(new, owned + 1), count(old, bad - owned - 1), 2.0);
                prop_assert!(more > less);
            }
        }
    }

    #[test]
    fn large_turns_are_finite() {
        let ratios = log_ratios(count(1_000_000, 500_000), count(1_000_000, 1_000), 1.0);
        assert!(ratios.iter().all(|ratio| ratio.is_finite()), "{ratios:?}");
    }
}
