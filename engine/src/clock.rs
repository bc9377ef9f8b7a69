//! The clock of deployments.
//!
//! It reads the wall clock once at the start and then adds the monotonic clock. So a wall clock that is set during a
//! deployment changes no deadline. Whoever starts it decides at which time it goes on after a restart.

use std::time::{SystemTime, UNIX_EPOCH};

use cutover_core::deployment::Time;
use tokio::time::Instant;

/// The clock of one run.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall: Time,
    start: Instant,
}

impl Clock {
    /// A clock that starts at the current wall time.
    pub fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::starting_at(Time::default().after(wall))
    }

    /// A clock that starts at the given time.
    pub fn starting_at(wall: Time) -> Self {
        Self { wall, start: Instant::now() }
    }

    /// The current time.
    pub fn now(&self) -> Time {
        self.wall.after(self.start.elapsed())
    }

    /// Sleeps until `time`. Returns at once if it has passed.
    pub async fn sleep_until(&self, time: Time) {
        tokio::time::sleep(self.now().until(time)).await;
    }
}

/// Formats a time as RFC 3339 in UTC with milliseconds.
pub fn rfc3339(time: Time) -> String {
    let milliseconds = i64::try_from(time.0).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_millisecond(milliseconds) {
        Ok(timestamp) => format!("{timestamp:.3}"),
        Err(_) => format!("{milliseconds} ms since 1970"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn sleeps_end_at_their_time() {
        let clock = Clock::starting_at(Time(1_000));
        clock.sleep_until(Time(4_000)).await;
        assert_eq!(clock.now(), Time(4_000));
        clock.sleep_until(Time(2_000)).await;
        assert_eq!(clock.now(), Time(4_000));
        assert_eq!(clock.now().until(Time(5_500)), Duration::from_millis(1_500));
    }

    #[test]
    fn times_for_people() {
        assert_eq!(rfc3339(Time(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(Time(1_700_000_000_123)), "2023-11-14T22:13:20.123Z");
    }
}
