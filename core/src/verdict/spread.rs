//! Latencies by bucket, as numbers that can be added and subtracted. The buckets: [`latency`](crate::latency).

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::latency::{BUCKETS, Latency, bucket_of, estimate};

/// How many values were in each bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// By bucket; empty: no values.
    counts: Vec<u64>,
}

impl Spread {
    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Counts values of one bucket.
    pub fn insert(&mut self, bucket: usize, values: u64) {
        if values == 0 {
            return;
        }
        self.counts.resize(BUCKETS, 0);
        if let Some(count) = self.counts.get_mut(bucket.min(BUCKETS - 1)) {
            *count = count.saturating_add(values);
        }
    }

    /// Buckets with values, the smallest first.
    pub fn filled(&self) -> impl DoubleEndedIterator<Item = (usize, u64)> {
        self.counts.iter().copied().enumerate().filter(|(_, count)| *count > 0)
    }

    /// Values in this bucket and all above.
    pub fn from_bucket(&self, bucket: usize) -> u64 {
        self.counts.iter().skip(bucket).sum()
    }

    /// How many values are in each bucket and all above, for every bucket.
    pub fn tails(&self) -> Vec<u64> {
        let mut tails: Vec<u64> = self
            .counts
            .iter()
            .rev()
            .scan(0, |sum, count| {
                *sum += count;
                Some(*sum)
            })
            .collect();
        tails.reverse();
        tails
    }

    /// The bucket that holds this quantile; `None`: no values.
    pub fn quantile(&self, part: f64) -> Option<usize> {
        let rank = ((self.count() as f64 * part).ceil() as u64).max(1);
        let mut seen = 0;
        self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        })
    }

    /// This quantile in microseconds, off by 6 % at most.
    pub fn quantile_us(&self, part: f64) -> Option<u64> {
        self.quantile(part).map(estimate)
    }

    /// Adds the values of another one.
    pub fn add(&mut self, more: &Spread) {
        self.counts.resize(self.counts.len().max(more.counts.len()), 0);
        for (sum, count) in self.counts.iter_mut().zip(&more.counts) {
            *sum = sum.saturating_add(*count);
        }
    }

    /// What was added since `earlier`.
    pub fn since(&self, earlier: &Spread) -> Spread {
        let before = earlier.counts.iter().copied().chain(std::iter::repeat(0));
        Spread {
            counts: self.counts.iter().zip(before).map(|(now, then)| now.saturating_sub(then)).collect(),
        }
    }

    /// Whether a bucket holds less than it did.
    pub fn fell_below(&self, earlier: &Spread) -> bool {
        let now = self.counts.iter().copied().chain(std::iter::repeat(0));
        earlier.counts.iter().zip(now).any(|(then, now)| now < *then)
    }
}

impl From<&Latency> for Spread {
    fn from(latency: &Latency) -> Self {
        latency.buckets.iter().map(|(low, count)| (bucket_of(*low), *count)).collect()
    }
}

impl FromIterator<(usize, u64)> for Spread {
    fn from_iter<I: IntoIterator<Item = (usize, u64)>>(buckets: I) -> Self {
        let mut spread = Self::default();
        buckets.into_iter().for_each(|(bucket, count)| spread.insert(bucket, count));
        spread
    }
}

/// As pairs of bucket and count: most buckets are empty.
impl Serialize for Spread {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.filled())
    }
}

impl<'de> Deserialize<'de> for Spread {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<(usize, u64)>::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_differences() {
        let first: Spread = [(3, 2), (90, 1)].into_iter().collect();
        let mut both = first.clone();
        both.add(&[(90, 4), (231, 1)].into_iter().collect());
        assert_eq!((both.count(), both.from_bucket(90), both.from_bucket(91)), (8, 6, 1));
        assert_eq!(both.since(&first).filled().collect::<Vec<_>>(), [(90, 4), (231, 1)]);
        assert!(first.fell_below(&both) && !both.fell_below(&first));
        assert_eq!((both.quantile(0.5), Spread::default().quantile(0.5)), (Some(90), None));
    }

    #[test]
    fn on_the_wire_it_is_a_list_of_pairs() {
        let spread: Spread = [(3, 2), (90, 1)].into_iter().collect();
        let json = serde_json::to_string(&spread).unwrap();
        assert_eq!(json, "[[3,2],[90,1]]");
        assert_eq!(serde_json::from_str::<Spread>(&json).unwrap(), spread);
    }
}
