//! Latencies as log-linear histograms: how long, counted in buckets that grow with the value.
//!
//! Eight buckets to each doubling, in microseconds:
//!
//! ```text
//! 0 1 2 .. 7 | 8 9 .. 15 | 16 18 20 .. 30 | 32 36 .. 60 | .. | 2^30 .. 2^31 and all above (from 35 minutes)
//! ```
//!
//! A bucket's estimate (twice the product of its ends by their sum) is off by 1/17 of the true value at most: 5.9 %.

use serde::{Deserialize, Serialize};

use crate::sync::{AtomicU64, Ordering::Relaxed};

/// Buckets of a histogram.
pub const BUCKETS: usize = 232;

const LINEAR_BITS: u32 = 3;
const PER_DOUBLING: usize = 1 << LINEAR_BITS;

/// The bucket of a value in microseconds.
#[inline]
pub fn bucket_of(micros: u64) -> usize {
    let magnitude = (micros | 1).ilog2();
    if magnitude < LINEAR_BITS {
        return micros as usize;
    }
    let shift = magnitude - LINEAR_BITS;
    // The leading bit of the mantissa is 1, so this continues where the linear part ends.
    let bucket = (shift as usize) * PER_DOUBLING + (micros >> shift) as usize;
    bucket.min(BUCKETS - 1)
}

/// The smallest value of a bucket, in microseconds.
pub fn lower_bound(bucket: usize) -> u64 {
    if bucket < 2 * PER_DOUBLING {
        return bucket as u64;
    }
    let shift = bucket / PER_DOUBLING - 1;
    ((PER_DOUBLING + bucket % PER_DOUBLING) as u64) << shift
}

/// What a value in this bucket is taken for, in microseconds.
pub fn estimate(bucket: usize) -> u64 {
    let (low, high) = (lower_bound(bucket), lower_bound(bucket + 1));
    // Integers below the first doubling have a bucket each.
    if high - low <= 1 { low } else { 2 * low * high / (low + high) }
}

/// One process's histogram of one slot, in memory that all processes of nginx share. Written by that process only.
#[repr(C)]
#[derive(Debug)]
pub struct Cells([AtomicU64; BUCKETS]);

impl Default for Cells {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Cells {
    /// Counts a value in microseconds.
    #[inline]
    pub fn count(&self, micros: u64) {
        if let Some(cell) = self.0.get(bucket_of(micros)) {
            cell.store(cell.load(Relaxed) + 1, Relaxed);
        }
    }

    /// Adds what was counted to a histogram.
    pub fn add_to(&self, histogram: &mut Histogram) {
        histogram.counts.resize(BUCKETS, 0);
        for (sum, cell) in histogram.counts.iter_mut().zip(&self.0) {
            *sum += cell.load(Relaxed);
        }
    }
}

/// Latencies of a slot since nginx started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// By bucket; empty: nothing was counted.
    counts: Vec<u64>,
    /// Sum of all values, in microseconds.
    pub sum_us: u64,
}

impl Histogram {
    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The value below which this part of all values lies (0.99: the 99th percentile), in microseconds; `None`: no values.
    pub fn quantile(&self, part: f64) -> Option<u64> {
        let rank = ((self.count() as f64 * part).ceil() as u64).max(1);
        let mut seen = 0;
        let bucket = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        bucket.map(estimate)
    }

    /// How many values are below each of these bounds, in microseconds: lower bounds of buckets, the smallest first.
    pub fn counts_below(&self, bounds_us: impl Iterator<Item = u64>) -> impl Iterator<Item = u64> {
        let (mut seen, mut from) = (0, 0);
        bounds_us.map(move |bound_us| {
            let to = bucket_of(bound_us);
            seen += self.counts.iter().take(to).skip(from).sum::<u64>();
            from = to;
            seen
        })
    }
}

/// A histogram on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// How many values were counted.
    pub count: u64,
    /// Sum of all values, in microseconds.
    pub sum_us: u64,
    /// Quantiles in microseconds; absent: no values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantiles: Option<Quantiles>,
    /// Pairs of a bucket's smallest value in microseconds and its count; buckets without a value are left out.
    pub buckets: Vec<(u64, u64)>,
}

/// Quantiles in microseconds, off by 6 % at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Quantiles {
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
}

impl From<&Histogram> for Latency {
    fn from(histogram: &Histogram) -> Self {
        let quantile = |part| histogram.quantile(part);
        let quantiles = quantile(0.5).zip(quantile(0.9)).zip(quantile(0.99)).zip(quantile(0.999));
        let filled = histogram.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        Self {
            count: histogram.count(),
            sum_us: histogram.sum_us,
            quantiles: quantiles.map(|(((p50, p90), p99), p999)| Quantiles { p50, p90, p99, p999 }),
            buckets: filled.map(|(bucket, count)| (lower_bound(bucket), *count)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn histogram(values: &[u64]) -> Histogram {
        let cells = Cells::default();
        values.iter().for_each(|value| cells.count(*value));
        let mut histogram = Histogram { sum_us: values.iter().sum(), ..Histogram::default() };
        cells.add_to(&mut histogram);
        histogram
    }

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        for bucket in 0..BUCKETS {
            let low = lower_bound(bucket);
            assert_eq!(bucket_of(low), bucket);
            assert!(low < lower_bound(bucket + 1));
            assert_eq!(bucket_of(lower_bound(bucket + 1) - 1), bucket);
        }
        assert_eq!(lower_bound(BUCKETS), 1 << 31);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn powers_of_two_are_bounds() {
        for power in 0..31 {
            assert_eq!(lower_bound(bucket_of(1 << power)), 1 << power);
        }
    }

    #[test]
    fn quantiles() {
        let values: Vec<u64> = (1..=1000).map(|n| n * 100).collect();
        let histogram = histogram(&values);
        let latency = Latency::from(&histogram);
        assert_eq!((latency.count, latency.sum_us), (1000, 50_050_000));
        let quantiles = latency.quantiles.unwrap();
        for (found, truth) in [(quantiles.p50, 50_000), (quantiles.p90, 90_000), (quantiles.p99, 99_000)] {
            assert!(found.abs_diff(truth) * 100 <= truth * 6, "{found} for {truth}");
        }
        assert_eq!(Latency::from(&Histogram::default()).quantiles, None);
    }

    #[test]
    fn counts_below_a_bound() {
        let histogram = histogram(&[0, 7, 8, 1023, 1024, 5_000_000]);
        let below: Vec<u64> = histogram.counts_below([8, 16, 1024, 1 << 30].into_iter()).collect();
        assert_eq!(below, [2, 3, 4, 6]);
    }

    proptest! {
        #[test]
        fn an_estimate_is_right_to_six_percent(micros in 0u64..1 << 31) {
            let estimate = estimate(bucket_of(micros));
            prop_assert!(estimate.abs_diff(micros) * 100 <= micros * 6, "{estimate} for {micros}");
        }
    }
}
