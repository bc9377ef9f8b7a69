//! The few figures of a watch that fit into one line, as fields.

use serde::{Deserialize, Serialize};

use super::limits::Limit;
use super::signal::Signal;
use super::watch::Watch;
use crate::fraction::{Fraction, Share};

/// What a new version has done until now, beside the old one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Glance {
    /// Answers of the new version, those that are overdue included.
    pub answers: u64,
    /// The bad ones: 5xx, rescued, and overdue.
    pub errors: u64,
    /// The overdue ones among them.
    pub unanswered: u64,
    /// The largest part of the answers that may be bad, after the comparison with the old version, rounded up to 0.0001. Absent:
    /// errors are not judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Fraction>,
    /// Median until the first byte, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_us: Option<u64>,
    /// The 99th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_us: Option<u64>,
    /// Answers of the old version, before the switch and beside the new one.
    pub old_answers: u64,
    /// The bad ones.
    pub old_errors: u64,
    /// Its median.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_p50_us: Option<u64>,
    /// Its 99th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_p99_us: Option<u64>,
}

impl Watch {
    /// What both versions have done until now.
    pub fn glance(&self) -> Glance {
        let (new, old) = (self.new.answers(), self.known.answers());
        let limit = match self.limits.signals.limit(Signal::Errors) {
            Some(Limit::Rate(limit)) => fraction(self.allowed(Signal::Errors, &limit, old)),
            _ => None,
        };
        Glance {
            answers: new.of,
            errors: new.bad,
            unanswered: self.new.unanswered.min(new.bad),
            limit,
            p50_us: self.new.first_byte.quantile_us(0.5),
            p99_us: self.new.first_byte.quantile_us(0.99),
            old_answers: old.of,
            old_errors: old.bad,
            old_p50_us: self.known.first_byte.quantile_us(0.5),
            old_p99_us: self.known.first_byte.quantile_us(0.99),
        }
    }
}

/// Rounded up, so that a limit never looks smaller than it is.
fn fraction(ratio: f64) -> Option<Fraction> {
    let whole = f64::from(Share::WHOLE);
    Fraction::from_parts((ratio * whole - 1e-6).ceil().clamp(0.0, whole) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_rounded_up() {
        for (ratio, parts) in [(0.01, 100), (0.010_01, 101), (0.000_01, 1), (0.0, 0), (2.0, 10_000)] {
            assert_eq!(fraction(ratio).unwrap().parts(), parts, "{ratio}");
        }
    }
}
