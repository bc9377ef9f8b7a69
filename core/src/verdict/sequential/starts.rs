//! An e-process over all alternatives and all seconds in which the fault may begin.
//!
//! For one alternative and one start, the e-process is the likelihood ratio of what came after that start. A weighted
//! average of e-processes is one too, and the sum over all starts needs no memory of them: with the weight `w` of the
//! starts that the last second added, `sum = (sum + w) * ratio`. This is the Shiryaev-Roberts recursion (Shiryaev 1963,
//! Roberts 1966) with weights that add up to 1, which bound the probability of a false alarm, not only its mean time; see
//! Shin, Ramdas, Rinaldo, "E-detectors", 2022, arXiv 2203.03532.

use serde::{Deserialize, Serialize};

/// Weight of the start with the watch itself. Later starts share the rest.
const AT_ONCE: f64 = 0.8;

/// Half of the weight of later starts belongs to the first so many seconds.
const HALF_AFTER_SECONDS: f64 = 60.0;

/// The process stops growing at this multiple of what an alarm needs: an old incident must not count for long. The least of
/// a supermartingale and a constant is a supermartingale.
const CAP: f64 = 20.0;

/// The sums, one for each alternative, weights included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Starts {
    sums: Vec<f64>,
    /// How much weight has been given to starts until now.
    started: f64,
    cap: f64,
}

impl Starts {
    /// For an alarm at `1 / alpha`, with as many alternatives as `weights`, which add up to 1.
    pub fn new(alpha: f64, weights: impl IntoIterator<Item = f64>) -> Self {
        let sums = weights.into_iter().map(|weight| weight * AT_ONCE).collect();
        Self { sums, started: AT_ONCE, cap: CAP / alpha }
    }

    /// Adds the starts in the seconds up to this one since the watch began.
    pub fn reach(&mut self, seconds: f64, weights: impl IntoIterator<Item = f64>) {
        let due = started_by(seconds);
        let more = due - self.started;
        if more > 0.0 {
            self.started = due;
            self.sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += weight * more);
        }
    }

    /// Multiplies with the likelihood ratio of new evidence, by its logarithm for each alternative.
    pub fn multiply(&mut self, log_ratios: impl IntoIterator<Item = f64>) {
        for (sum, log_ratio) in self.sums.iter_mut().zip(log_ratios) {
            // Bounds keep zero times infinity away.
            *sum = (*sum * log_ratio.clamp(-600.0, 600.0).exp()).min(self.cap);
        }
    }

    /// The value of the e-process. The starts to come have not bet yet: they keep their weight.
    pub fn value(&self) -> f64 {
        self.sums.iter().sum::<f64>() + (1.0 - self.started).max(0.0)
    }
}

/// `1 - c / (s + c)` of the weight of later starts is given after `s` seconds; the cost of a start at `s` grows like `2 ln s`.
fn started_by(seconds: f64) -> f64 {
    AT_ONCE + (1.0 - AT_ONCE) * (1.0 - HALF_AFTER_SECONDS / (seconds.max(0.0) + HALF_AFTER_SECONDS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_evidence_the_value_stays_at_one() {
        let mut starts = Starts::new(0.01, [0.5, 0.5]);
        for second in 0..10_000 {
            starts.reach(f64::from(second), [0.5, 0.5]);
            starts.multiply([0.0, 0.0]);
            assert!((starts.value() - 1.0).abs() < 1e-9, "{}", starts.value());
        }
    }

    #[test]
    fn the_recursion_is_the_sum_over_all_starts() {
        let ratios = [0.9, 1.2, 0.7, 3.0, 0.95, 2.0, 1.1];
        let mut starts = Starts::new(1e-9, [1.0]);
        let mut all = vec![(0, AT_ONCE)];
        for (second, ratio) in ratios.iter().enumerate() {
            starts.reach(second as f64, [1.0]);
            starts.multiply([f64::ln(*ratio)]);
            if second > 0 {
                all.push((second, started_by(second as f64) - started_by(second as f64 - 1.0)));
            }
        }
        let sum: f64 =
            all.iter().map(|(from, weight)| weight * ratios[*from..].iter().product::<f64>()).sum();
        let unused = 1.0 - all.iter().map(|(_, weight)| weight).sum::<f64>();
        assert!((starts.value() - sum - unused).abs() < 1e-12);
    }

    #[test]
    fn it_survives_what_floats_do_not() {
        let mut starts = Starts::new(0.01, [1.0]);
        starts.multiply([-1e9]);
        starts.multiply([-1e9]);
        starts.multiply([f64::INFINITY]);
        assert!(starts.value().is_finite());
        starts.reach(1.0, [1.0]);
        starts.multiply([1e9]);
        assert!(starts.value() >= 100.0 && starts.value().is_finite());
    }
}
