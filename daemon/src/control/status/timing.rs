//! The time of a phase on the wire.

use std::time::Duration;

use cutover_core::deployment::{Time, Timing};
use cutover_engine::clock::rfc3339;
use serde::{Deserialize, Serialize};

/// When a phase ends, at the latest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseTime {
    /// As RFC 3339 in UTC.
    pub ends: String,
    /// Milliseconds until then; 0: it is over, and goes on for a while.
    pub left_ms: u64,
    /// Milliseconds that it takes in all.
    pub takes_ms: u64,
}

impl PhaseTime {
    pub(super) fn at(Timing { until, takes }: Timing, now: Time) -> Self {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self { ends: rfc3339(until), left_ms: ms(now.until(until)), takes_ms: ms(takes) }
    }

    /// How much of it has passed.
    pub fn passed(&self) -> Duration {
        Duration::from_millis(self.takes_ms.saturating_sub(self.left_ms))
    }
}
