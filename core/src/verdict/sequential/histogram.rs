//! Is the new slot slower, over the whole distribution? Both slots at the same time, by buckets of the histograms.
//!
//! The old slot's latencies are stretched by what is allowed. The buckets are joined to a few bins, at quantiles of what
//! the old slot did before this turn. From the slowest bin down, the test asks who owns the answers in the bin, given how
//! many of each slot are left: a question of [`two_sample`](super::two_sample), so the expected factor is at most 1 when
//! both distributions are equal or the new one is faster in each bin against all faster ones. The alternatives are the
//! old distribution, slower by a few factors: what a general slowdown looks like. Counts by buckets with a sequential test
//! are the idea of Lindon, Sanden, Shirikian, "Rapid regression detection in software deployments through sequential
//! testing", KDD 2022, arXiv 2205.14762.

use super::bernoulli::Count;
use super::two_sample::log_ratio;
use crate::latency::{BUCKETS, bucket_of, lower_bound};
use crate::verdict::spread::Spread;

/// The alternatives: so many times as slow, and with which weight.
pub const FACTORS: [(f64, f64); 5] = [(1.2, 0.30), (1.45, 0.18), (2.0, 0.20), (3.5, 0.12), (10.0, 0.20)];

/// The weights of [`FACTORS`].
pub fn weights() -> impl Iterator<Item = f64> {
    FACTORS.iter().map(|(_, weight)| *weight)
}

/// Where bins end, as quantiles of the old slot.
const CUTS: [f64; 12] = [0.08, 0.16, 0.24, 0.32, 0.4, 0.5, 0.6, 0.7, 0.8, 0.88, 0.95, 0.99];

/// Fewer values of the old slot say nothing about its distribution.
const MIN_PAST: u64 = 20;

/// As many values are added to each bin of the old slot's past: it is a sample.
const PSEUDO: f64 = 0.5;

/// What is allowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allowed {
    /// So many times as slow, at least 1. Rounded up to an eighth of a power of two: 1, 1.125, .. 1.875, 2, 2.25 ..
    pub times: f64,
    /// Whatever is faster than this, in microseconds.
    pub max_us: u64,
}

/// The logarithms of the likelihood ratios of one turn, one for each alternative, by the old slot's past.
pub fn log_ratios(new: &Spread, old: &Spread, past: &Spread, allowed: Allowed) -> [f64; FACTORS.len()] {
    let mut sums = [0.0; FACTORS.len()];
    if past.count() < MIN_PAST {
        return sums;
    }
    let past_tails = past.tails();
    let times = aligned(allowed.times);
    let (mut new_left, mut old_left) = (new.count(), old.count());
    let mut above = Above::default();
    // From the slowest bin down. The lowest one owns what is left: no question.
    for cut in cuts(past, times, allowed.max_us).iter().rev() {
        let new_slow = new.from_bucket(cut.new).saturating_sub(new.count() - new_left);
        let old_slow = old.from_bucket(cut.old).saturating_sub(old.count() - old_left);
        let upto = above.down_to(&past_tails, *cut, times);
        if new_slow + old_slow > 0 {
            let (new_bin, old_bin) =
                (Count { of: new_left, bad: new_slow }, Count { of: old_left, bad: old_slow });
            let bins = CUTS.len() + 2;
            for (sum, times) in
                sums.iter_mut().zip(upto.odds_since(&above, past.count() as f64 + PSEUDO * bins as f64))
            {
                *sum += log_ratio(new_bin, old_bin, times);
            }
        }
        above = upto;
        new_left -= new_slow;
        old_left -= old_slow;
    }
    sums
}

/// The lower end of a bin, in buckets of both slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cut {
    new: usize,
    old: usize,
}

impl Cut {
    /// The new slot's bound has to be exactly so many times the old one's: if one bin were rounded more than another, equal
    /// distributions would not look equal.
    fn at(old: usize, times: f64) -> Option<Self> {
        let bound = lower_bound(old) as f64 * times;
        let new = bucket_of(bound as u64);
        (old < BUCKETS && lower_bound(new) as f64 == bound).then_some(Self { new, old })
    }
}

/// The next larger multiple of an eighth of a power of two: those map at least one bound of each doubling to another bound.
fn aligned(times: f64) -> f64 {
    let power = times.max(1.0).log2().floor().exp2();
    (times.max(1.0) / power * 8.0 - 1e-9).ceil() / 8.0 * power
}

/// Lower ends of all bins but the lowest, growing. `times` is aligned.
fn cuts(past: &Spread, times: f64, max_us: u64) -> Vec<Cut> {
    let quantiles = CUTS.iter().filter_map(|part| past.quantile(*part));
    let mut cuts: Vec<Cut> =
        quantiles.filter_map(|bucket| (bucket + 1..bucket + 9).find_map(|old| Cut::at(old, times))).collect();
    // Slower than nearly everything that the old slot did: one and two doublings.
    let top = cuts.last().map_or(0, |cut| cut.old);
    cuts.extend([top + 8, top + 16].into_iter().filter_map(|old| Cut::at(old, times)));
    cuts.retain(|cut| lower_bound(cut.new) > max_us);
    cuts.dedup();
    cuts
}

/// How much of the old slot's past is above a cut: as it was, and under each alternative.
#[derive(Clone, Copy, Debug, Default)]
struct Above {
    null: f64,
    slower: [f64; FACTORS.len()],
}

impl Above {
    /// The same for the next cut below.
    fn down_to(&self, past_tails: &[u64], cut: Cut, times: f64) -> Self {
        let smooth = |value: f64, above: f64| value.max(above) + PSEUDO;
        let mut slower = self.slower;
        for (sum, (factor, _)) in slower.iter_mut().zip(FACTORS) {
            let at = lower_bound(cut.new) as f64 / (times * factor);
            *sum = smooth(tail(past_tails, at), *sum);
        }
        Self { null: smooth(tail(past_tails, lower_bound(cut.old) as f64), self.null), slower }
    }

    /// How many times the odds a value has to be in the bin that ends at `above`, among those not above it.
    fn odds_since(&self, above: &Above, total: f64) -> [f64; FACTORS.len()] {
        let odds = |upto: f64, above: f64| (upto - above) / (total - upto).max(PSEUDO);
        let null = odds(self.null, above.null);
        let mut times = [1.0; FACTORS.len()];
        for ((times, upto), above) in times.iter_mut().zip(self.slower).zip(above.slower) {
            // Slower on the whole: no bin but the lowest becomes less likely against those below it.
            *times = (odds(upto, above) / null).clamp(1.0, 1e6);
        }
        times
    }
}

/// How many values are above this one: the values of a bucket are spread evenly over it.
fn tail(tails: &[u64], us: f64) -> f64 {
    let bucket = bucket_of(us as u64);
    let at = |bucket: usize| tails.get(bucket).map_or(0.0, |tail| *tail as f64);
    let (low, high) = (lower_bound(bucket) as f64, lower_bound(bucket + 1) as f64);
    at(bucket + 1) + (at(bucket) - at(bucket + 1)) * ((high - us) / (high - low)).clamp(0.0, 1.0)
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
            let allowed = Allowed { times, max_us: 0 };
            log_ratios(new, &around(100, 10), &past, allowed).into_iter().fold(f64::MIN, f64::max)
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
        let allowed = Allowed { times: 1.0, max_us: lower_bound(100) };
        assert_eq!(log_ratios(&new, &old, &past, allowed), [0.0; FACTORS.len()]);
    }

    #[test]
    fn little_is_known_of_a_new_old_slot() {
        let allowed = Allowed { times: 1.0, max_us: 0 };
        assert_eq!(
            log_ratios(&around(90, 10), &around(50, 10), &around(50, 1), allowed),
            [0.0; FACTORS.len()]
        );
    }

    #[test]
    fn the_bounds_of_both_slots_are_exactly_so_many_times_apart() {
        for (times, exact) in [(1.0, 1.0), (1.1, 1.125), (1.25, 1.25), (1.5, 1.5), (3.0, 3.0), (7.7, 8.0)] {
            assert_eq!(aligned(times), exact);
            let cuts = cuts(&around(100, 100), exact, 0);
            assert!(cuts.len() >= 3, "{times}: {cuts:?}");
            for cut in cuts {
                assert_eq!(lower_bound(cut.new) as f64, lower_bound(cut.old) as f64 * exact);
            }
        }
    }

    #[test]
    fn as_slow_as_allowed_is_no_evidence_on_average() {
        // All orders of a few values, each as likely: the new slot owns half of them, 1.5 times as slow.
        let past: Spread = (90..120).map(|bucket| (bucket, 50)).collect();
        let values = [88, 96, 98, 100, 104, 106, 112, 114];
        let (mut sum, mut orders) = ([0.0; FACTORS.len()], 0.0);
        for owners in (0u32..256).filter(|owners| owners.count_ones() == 4) {
            let owned = |by_new: bool| {
                values.iter().enumerate().filter(move |(at, _)| (owners >> at & 1 == 1) == by_new)
            };
            let old: Spread = owned(false).map(|(_, bucket)| (*bucket, 1)).collect();
            let slower = |bucket: usize| bucket_of((1.5 * lower_bound(bucket) as f64) as u64);
            let new: Spread = owned(true).map(|(_, bucket)| (slower(*bucket), 1)).collect();
            let ratios = log_ratios(&new, &old, &past, Allowed { times: 1.5, max_us: 0 });
            sum.iter_mut().zip(ratios).for_each(|(sum, ratio)| *sum += ratio.exp());
            orders += 1.0;
        }
        assert!(sum.iter().all(|sum| (sum / orders - 1.0).abs() < 1e-9), "{sum:?} of {orders}");
    }
}
