//! Is the new slot slower, over the whole distribution? Both slots at the same time, by buckets of the histograms.
//!
//! The old slot's latencies are stretched by what is allowed. The buckets are joined to a few bins, at quantiles of what
//! the old slot did before this turn. From the slowest bin down, the test asks who owns the answers in the bin, given how
//! many of each slot are left: a question of [`two_sample`](super::two_sample), so the expected factor is at most 1 when
//! both distributions are equal or the new one is faster in each bin against all faster ones. The alternatives are the
//! old distribution, shifted by a few buckets: what a general slowdown looks like on a logarithmic scale. Counts by
//! buckets with a sequential test are the idea of Lindon, Sanden, Shirikian, "Rapid regression detection in software
//! deployments through sequential testing", KDD 2022, arXiv 2205.14762.

use super::bernoulli::Count;
use super::two_sample::log_ratio;
use crate::verdict::spread::Spread;

/// The alternatives: slower by so many buckets (eight are twice as slow), and with which weight.
pub const SHIFTS: [(usize, f64); 5] = [(2, 0.30), (4, 0.20), (8, 0.25), (14, 0.10), (27, 0.15)];

/// The weights of [`SHIFTS`].
pub fn weights() -> impl Iterator<Item = f64> {
    SHIFTS.iter().map(|(_, weight)| *weight)
}

/// Where bins end, as quantiles of the old slot.
const CUTS: [f64; 11] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.96, 0.99];

/// Fewer values of the old slot say nothing about its distribution.
const MIN_PAST: u64 = 20;

/// How latencies are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// What the old slot's latencies are moved by: what is allowed, in buckets.
    pub stretch: usize,
    /// Everything below this bucket is fast enough.
    pub floor: usize,
}

impl Scale {
    /// From how many times slower is allowed, at least 1. Rounded up to whole buckets.
    pub fn new(times: f64, floor: usize) -> Self {
        Self { stretch: (8.0 * times.max(1.0).log2() - 1e-9).ceil() as usize, floor }
    }
}

/// The logarithms of the likelihood ratios of one turn, one for each alternative, by the old slot's past.
pub fn log_ratios(new: &Spread, old: &Spread, past: &Spread, scale: Scale) -> [f64; SHIFTS.len()] {
    let nothing = [0.0; SHIFTS.len()];
    if past.count() < MIN_PAST {
        return nothing;
    }
    let cuts = cuts(past, scale);
    let (mut new_left, mut old_left) = (new.count(), old.count());
    let mut sums = nothing;
    let mut above = Above::nothing(past);
    let mut upper = above;
    // From the slowest bin down. The lowest one owns what is left: no question.
    for cut in cuts.iter().rev() {
        let new_slow = new.from_bucket(*cut).saturating_sub(new.count() - new_left);
        let old_slow = old.from_bucket(cut.saturating_sub(scale.stretch)).saturating_sub(old.count() - old_left);
        let (new_bin, old_bin) = (Count { of: new_left, bad: new_slow }, Count { of: old_left, bad: old_slow });
        upper.fill(past, *cut, scale);
        if new_slow + old_slow > 0 {
            let times = upper.odds_since(&above);
            for (sum, times) in sums.iter_mut().zip(times) {
                *sum += log_ratio(new_bin, old_bin, times);
            }
        }
        above = upper;
        new_left -= new_slow;
        old_left -= old_slow;
    }
    sums
}

/// Lower ends of all bins but the lowest, in buckets of the new slot, growing.
fn cuts(past: &Spread, scale: Scale) -> Vec<usize> {
    let mut cuts: Vec<usize> = CUTS
        .iter()
        .filter_map(|part| past.quantile(*part))
        .map(|bucket| bucket + scale.stretch + 1)
        .filter(|cut| *cut > scale.floor)
        .collect();
    // Slower than nearly everything that the old slot did.
    let top = cuts.last().copied().unwrap_or(scale.floor + 1);
    cuts.extend([top + 8, top + 16]);
    cuts.dedup();
    cuts
}

/// The parts of the distributions above a cut: of the old slot, and under each alternative.
#[derive(Clone, Copy, Debug)]
struct Above {
    total: f64,
    null: f64,
    shifted: [f64; SHIFTS.len()],
}

/// As many values are added to each bin: the past is a sample.
const PSEUDO: f64 = 0.5;

impl Above {
    fn nothing(past: &Spread) -> Self {
        let bins = (CUTS.len() + 3) as f64;
        Self { total: past.count() as f64 + PSEUDO * bins, null: 0.0, shifted: [0.0; SHIFTS.len()] }
    }

    fn fill(&mut self, past: &Spread, cut: usize, scale: Scale) {
        let before = *self;
        let part = |shift: usize| past.from_bucket(cut.saturating_sub(scale.stretch + shift)) as f64;
        let smooth = |value: f64, before: f64| value.max(before) + PSEUDO;
        self.null = smooth(part(0), before.null);
        for ((sum, (shift, _)), before) in self.shifted.iter_mut().zip(SHIFTS).zip(before.shifted) {
            *sum = smooth(part(shift), before);
        }
    }

    /// How many times the odds a value has to be in this bin, among those not above it.
    fn odds_since(&self, above: &Above) -> [f64; SHIFTS.len()] {
        let odds = |upper: f64, lower: f64| {
            let (inside, below) = (upper - lower, self.total - upper);
            inside / below.max(PSEUDO)
        };
        let null = odds(self.null, above.null);
        let mut times = [1.0; SHIFTS.len()];
        for ((times, upper), lower) in times.iter_mut().zip(self.shifted).zip(above.shifted) {
            // Slower on the whole: no bin but the lowest becomes less likely against those below it.
            *times = (odds(upper, lower) / null).clamp(1.0, 1e6);
        }
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(bucket: usize, each: u64) -> Spread {
        (bucket - 6..=bucket + 6).map(|bucket| (bucket, each)).collect()
    }

    #[test]
    fn equal_ones_are_no_evidence_and_slower_ones_are() {
        let past = around(100, 100);
        let sum = |new: &Spread, times: f64| {
            let scale = Scale::new(times, 0);
            log_ratios(new, &around(100, 10), &past, scale).into_iter().fold(f64::MIN, f64::max)
        };
        assert!(sum(&around(100, 10), 1.0) < 0.0);
        assert!(sum(&around(92, 10), 1.0) < 0.0);
        assert!(sum(&around(104, 10), 1.0) > 10.0);
        // Twice as slow is allowed: eight buckets.
        assert!(sum(&around(108, 10), 2.0) < 0.0);
        assert!(sum(&around(114, 10), 2.0) > 10.0);
    }

    #[test]
    fn what_is_fast_enough_is_not_compared() {
        let (past, new, old) = (around(50, 100), around(80, 10), around(50, 10));
        assert_eq!(log_ratios(&new, &old, &past, Scale::new(1.0, 100)), [0.0; SHIFTS.len()]);
    }

    #[test]
    fn little_is_known_of_a_new_old_slot() {
        let few = log_ratios(&around(90, 10), &around(50, 10), &around(50, 1), Scale::new(1.0, 0));
        assert_eq!(few, [0.0; SHIFTS.len()]);
    }
}
