//! A sample of measured values.

use std::time::Duration;

/// Values in ascending order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample(Vec<f64>);

impl Sample {
    pub(crate) fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        if self.0.len().is_multiple_of(2) {
            f64::midpoint(self.at(middle.saturating_sub(1)), self.at(middle))
        } else {
            self.at(middle)
        }
    }

    /// The value that this share of all values does not exceed.
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        let rank = (share * self.0.len() as f64).ceil() as usize;
        self.at(rank.clamp(1, self.0.len().max(1)) - 1)
    }

    pub(crate) fn lowest(&self) -> f64 {
        self.at(0)
    }

    pub(crate) fn highest(&self) -> f64 {
        self.at(self.0.len().saturating_sub(1))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    fn at(&self, index: usize) -> f64 {
        self.0.get(index).copied().unwrap_or(f64::NAN)
    }
}

impl FromIterator<f64> for Sample {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }
}

/// In seconds.
impl FromIterator<Duration> for Sample {
    fn from_iter<I: IntoIterator<Item = Duration>>(values: I) -> Self {
        values.into_iter().map(|value| value.as_secs_f64()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Sample;

    #[test]
    fn ranks() {
        let odd: Sample = [3.0, 1.0, 2.0].into_iter().collect();
        assert_eq!((odd.median(), odd.lowest(), odd.highest()), (2.0, 1.0, 3.0));
        let even: Sample = [4.0, 1.0, 2.0, 3.0].into_iter().collect();
        assert_eq!(even.median(), 2.5);
        let hundred: Sample = (1..=100).map(f64::from).collect();
        assert_eq!((hundred.percentile(0.99), hundred.percentile(1.0)), (99.0, 100.0));
        assert!(Sample::default().median().is_nan());
    }
}
