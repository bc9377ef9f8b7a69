//! What can be wrong with a version.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One kind of evidence. Each has a limit and a comparison of its own, see [`Limits`](super::limits::Limits).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// 5xx, rescued or unanswered requests among all answers.
    Errors,
    /// Failed attempts among all attempts.
    Attempts,
    /// Requests that the client gave up, among all that ended.
    Aborted,
    /// 4xx among all answers.
    ClientErrors,
    /// 3xx among all answers.
    Redirects,
    /// Upgraded connections that close at once.
    Upgrades,
    /// Half of the first bytes come later than this.
    P50,
    /// One in twenty first bytes comes later than this.
    P95,
    /// One in a hundred first bytes comes later than this.
    P99,
    /// One in twenty whole answers takes longer than this.
    WholeP95,
    /// First bytes come later on the whole, whatever the quantile.
    Slower,
}

impl Signal {
    /// All of them in their order, the most important first: it gives the reason when several are broken at once.
    pub const ALL: [Signal; 11] = [
        Self::Errors,
        Self::Attempts,
        Self::Aborted,
        Self::ClientErrors,
        Self::Redirects,
        Self::Upgrades,
        Self::P50,
        Self::P95,
        Self::P99,
        Self::WholeP95,
        Self::Slower,
    ];

    /// Its part of `alpha`. They add up to 1; the parts of signals that are off go to the others.
    pub fn weight(self) -> f64 {
        match self {
            Self::Errors => 0.40,
            Self::Slower => 0.30,
            Self::Aborted => 0.07,
            Self::Attempts | Self::ClientErrors => 0.05,
            Self::P50 | Self::P95 | Self::P99 => 0.03,
            Self::Redirects | Self::WholeP95 => 0.015,
            Self::Upgrades => 0.01,
        }
    }

    /// The quantile, of a signal that is one.
    pub fn quantile(self) -> Option<f64> {
        match self {
            Self::P50 => Some(0.50),
            Self::P95 | Self::WholeP95 => Some(0.95),
            Self::P99 => Some(0.99),
            _ => None,
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Errors => "errors",
            Self::Attempts => "failed attempts",
            Self::ClientErrors => "4xx answers",
            Self::Redirects => "3xx answers",
            Self::Aborted => "given up by clients",
            Self::Upgrades => "upgraded connections that closed at once",
            Self::P50 => "p50",
            Self::P95 => "p95",
            Self::P99 => "p99",
            Self::WholeP95 => "p95 of whole answers",
            Self::Slower => "latency",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_alpha_add_up() {
        let sum: f64 = Signal::ALL.iter().map(|signal| signal.weight()).sum();
        assert!((sum - 1.0).abs() < 1e-12, "{sum}");
        assert!(Signal::ALL.is_sorted());
    }
}
