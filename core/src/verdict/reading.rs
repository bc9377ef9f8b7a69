//! What the caller reads: the counters of both slots, as they are on each edge at one moment.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::spread::Spread;
use crate::api::Slot;
use crate::counters::{Counters, Failures, ServerErrors};

/// The name of the edge that stands for requests of the daemon itself. Their answers are told apart in figures and reasons.
pub const SYNTHETIC: &str = "synthetic";

/// One look at all edges.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// When, on a clock of the caller's choice. The first reading may have any time. If the clock goes back, nobody has watched
    /// meanwhile.
    pub at: Duration,
    /// Whether the old slot has a share of the traffic now, so that both can be compared at the same time.
    pub split: bool,
    /// The edges that could be read. One that is missing is counted when it comes back.
    pub edges: Vec<EdgeReading>,
}

/// The slots as one edge counts them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeReading {
    /// The name of the edge.
    pub edge: String,
    /// The slot that is judged; `None`: the edge does not know it now.
    pub new: Option<Sample>,
    /// The slot that it is compared with.
    pub old: Option<Sample>,
}

/// Cumulative counters of one slot on one edge: of users' requests only, because a preview is no evidence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Requests and how they ended.
    pub counters: Counters,
    /// Failed attempts by what was wrong.
    pub failures: Failures,
    /// 5xx answers by status.
    pub server_errors: ServerErrors,
    /// Upgraded connections that are open now.
    pub upgraded: u64,
    /// From the begin of an attempt to the first byte of its answer.
    pub first_byte: Spread,
    /// From the begin of an attempt to the end of its answer.
    pub whole: Spread,
}

impl Sample {
    /// Whether a total is lower than before: another nginx has counted.
    pub(super) fn fell_below(&self, earlier: &Sample) -> bool {
        let fell = std::cell::Cell::new(false);
        let look = |now: u64, then: u64| {
            fell.set(fell.get() || now < then);
            0
        };
        self.totals().zip(&earlier.totals(), look);
        self.failures.zip(&earlier.failures, look);
        self.server_errors.zip(&earlier.server_errors, look);
        fell.get() || self.first_byte.fell_below(&earlier.first_byte) || self.whole.fell_below(&earlier.whole)
    }

    /// The counters without their gauge.
    fn totals(&self) -> Counters {
        Counters { in_flight: 0, ..self.counters }
    }
}

impl From<&Slot> for Sample {
    fn from(slot: &Slot) -> Self {
        Self {
            counters: slot.counters,
            failures: slot.failures,
            server_errors: slot.server_errors,
            upgraded: slot.upgraded,
            first_byte: Spread::from(&slot.first_byte),
            whole: Spread::from(&slot.whole),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::{Previews, Responses};

    #[test]
    fn a_preview_is_no_evidence() {
        let responses = Responses { server_error: 7, ..Responses::default() };
        let previews = Previews { requests: 9, responses, in_flight: 2, upgraded: 1 };
        let slot = Slot { previews, ..Slot::default() };
        assert_eq!(Sample::from(&slot), Sample::default());
    }
}
