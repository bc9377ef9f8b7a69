//! The medians of scenarios that are run several times.

use std::fmt::Write as _;

use crate::judge::ScenarioResult;

/// A scenario's runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Median {
    number: u8,
    title: &'static str,
    runs: usize,
    failed: u64,
    most: u64,
    back_ms: u128,
    limit: Option<u64>,
}

impl Median {
    /// Of the results of one scenario; `None` without results.
    fn of(results: &[&ScenarioResult]) -> Option<Self> {
        let first = results.first()?;
        let mut failed: Vec<_> = results.iter().map(|result| result.failed).collect();
        let mut back: Vec<_> =
            results.iter().filter_map(|result| Some(result.back_after?.as_millis())).collect();
        failed.sort_unstable();
        back.sort_unstable();
        Some(Self {
            number: first.number,
            title: first.title,
            runs: results.len(),
            failed: middle(&failed)?,
            most: *failed.last()?,
            back_ms: middle(&back).unwrap_or_default(),
            limit: first.median_failed,
        })
    }

    /// Whether it keeps its limit.
    pub(crate) fn good(&self) -> bool {
        self.limit.is_none_or(|limit| self.failed <= limit)
    }
}

/// The medians of all scenarios in `results`, which are sorted by number.
pub(crate) fn medians(results: &[ScenarioResult]) -> Vec<Median> {
    let runs = results.chunk_by(|one, next| one.number == next.number);
    runs.filter_map(|runs| Median::of(&runs.iter().collect::<Vec<_>>())).collect()
}

pub(crate) fn render(medians: &[Median]) -> String {
    let mut text = String::from(
        "
 # scenario                                  runs  failed, median  at most  most in a run  back after, median
",
    );
    for median in medians {
        let limit = median.limit.map_or_else(|| "-".to_owned(), |limit| limit.to_string());
        let _ = writeln!(
            text,
            "{:>2} {:<41} {:>4} {:>15} {:>8} {:>14} {:>16} ms{}",
            median.number,
            median.title,
            median.runs,
            median.failed,
            limit,
            median.most,
            median.back_ms,
            if median.good() { "" } else { "  WRONG" },
        );
    }
    text
}

/// The upper one of the two in the middle, if there are two.
fn middle<T: Copy>(sorted: &[T]) -> Option<T> {
    sorted.get(sorted.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_an_even_number_is_the_upper_one() {
        assert_eq!(middle(&[1, 2, 9]), Some(2));
        assert_eq!(middle(&[1, 2, 8, 9]), Some(8));
        assert_eq!(middle::<u64>(&[]), None);
    }
}
