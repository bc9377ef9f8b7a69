//! Retries of a step: how often, and when.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Time;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The tries of one step so far. The journal keeps it, so a restart does not reset the count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Failed tries.
    pub failed: u32,
    /// The next try is due then.
    pub at: Time,
}

impl Retry {
    /// Records a failure and returns when to retry. Pauses double up to ten seconds. `None` after `most` failures.
    pub(super) fn next(self, now: Time, most: u32) -> Option<Self> {
        let failed = self.failed.saturating_add(1);
        if failed >= most {
            return None;
        }
        let factor = 2u32.checked_pow(self.failed).unwrap_or(u32::MAX);
        let pause = FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE);
        Some(Self { failed, at: now.after(pause) })
    }

    /// Moves the next try to at most the longest pause from now.
    pub(super) fn clamp(&mut self, now: Time) {
        self.at = self.at.min(now.after(LONGEST_PAUSE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_end() {
        let mut retry = Retry::default();
        let mut pauses = Vec::new();
        while let Some(next) = retry.next(Time(0), 8) {
            pauses.push(next.at.0);
            retry = next;
        }
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
    }
}
