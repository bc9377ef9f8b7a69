//! The figures of a soak as lines of numbers, one for each slot.

use crate::control::{DoneStatus, PointStatus};

/// A figure over time.
pub(super) struct Plot {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) new: Vec<Option<f64>>,
    pub(super) old: Vec<Option<f64>>,
}

impl Plot {
    /// The largest value of both slots.
    pub(super) fn highest(&self) -> f64 {
        self.new.iter().chain(&self.old).flatten().copied().fold(0.0, f64::max)
    }
}

type Value = fn(&DoneStatus, f64) -> Option<f64>;

/// The figures that a report shows.
const FIGURES: [(&str, &str, Value); 4] = [
    ("answers", "/s", |done, seconds| (seconds > 0.0).then(|| done.answers as f64 / seconds)),
    ("5xx", "/s", |done, seconds| (seconds > 0.0).then(|| done.errors as f64 / seconds)),
    ("p50", " ms", |done, _| done.p50_us.map(|us| us as f64 / 1000.0)),
    ("p99", " ms", |done, _| done.p99_us.map(|us| us as f64 / 1000.0)),
];

/// All figures, with at most so many values each.
pub(super) fn plots(points: &[PointStatus], most: usize) -> Vec<Plot> {
    let plot = |(name, unit, value): &(&'static str, &'static str, Value)| {
        let of = |slot: fn(&PointStatus) -> &DoneStatus| {
            let values: Vec<Option<f64>> =
                points.iter().map(|point| value(slot(point), point.seconds)).collect();
            narrowed(&values, most)
        };
        Plot { name, unit, new: of(|point| &point.new), old: of(|point| &point.old) }
    };
    FIGURES.iter().map(plot).collect()
}

/// At most so many values: of those that fall together, the largest is shown, so that no peak is hidden.
fn narrowed(values: &[Option<f64>], most: usize) -> Vec<Option<f64>> {
    let each = values.len().div_ceil(most.max(1)).max(1);
    let largest = |some: &[Option<f64>]| some.iter().flatten().copied().reduce(f64::max);
    values.chunks(each).map(largest).collect()
}

/// A line of blocks, from nothing to the highest value. A span without a value is a blank.
pub(super) fn sparkline(values: &[Option<f64>], highest: f64) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let block = |value: &Option<f64>| match value {
        None => ' ',
        Some(value) if highest > 0.0 => {
            let height = (value / highest * 7.0).round().clamp(0.0, 7.0) as usize;
            BLOCKS.get(height).copied().unwrap_or('▁')
        }
        Some(_) => '▁',
    };
    values.iter().map(block).collect()
}

/// A number with three digits at most.
pub(super) fn short(value: f64) -> String {
    match value {
        value if value >= 100.0 || value == value.round() => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_blocks() {
        assert_eq!(sparkline(&[Some(0.0), Some(5.0), None, Some(10.0)], 10.0), "▁▅ █");
        assert_eq!(sparkline(&[Some(0.0)], 0.0), "▁");
    }

    #[test]
    fn a_peak_is_not_hidden() {
        let values: Vec<Option<f64>> = (0..100).map(|at| Some(if at == 57 { 9.0 } else { 1.0 })).collect();
        let shown = narrowed(&values, 10);
        assert_eq!(shown.len(), 10);
        assert_eq!(shown.iter().flatten().copied().fold(0.0, f64::max), 9.0);
    }

    #[test]
    fn numbers() {
        assert_eq!([0.0, 0.25, 12.34, 120.0, 1234.5].map(short), ["0", "0.25", "12.3", "120", "1234"]);
    }
}
