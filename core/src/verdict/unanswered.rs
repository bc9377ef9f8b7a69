//! Requests that have waited too long, from totals alone.
//!
//! No clock runs for a request. But of the requests that were given by the time `t`, at least `given(t) - done(now)` are
//! not done now, so they have waited for `now - t`. The number is exact when everything stopped at once, and too low by
//! the young requests that are done already otherwise. It is never too high.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How many moments are kept for one patience.
const MOMENTS: u32 = 64;

/// Requests given to one slot by one nginx, at a few moments of the last seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Unanswered {
    given: VecDeque<(Duration, u64)>,
}

impl Unanswered {
    /// Notes how many were given by now, and returns how many of them have waited longer than the patience at least.
    pub(super) fn observe(&mut self, at: Duration, patience: Duration, given: u64, done: u64) -> u64 {
        let recent = self.given.back().is_some_and(|(last, _)| at < *last + patience / MOMENTS);
        if !recent {
            self.given.push_back((at, given));
        }
        // The newest of those that are old enough decides; what is older says less.
        while self.given.get(1).is_some_and(|(then, _)| *then + patience < at) {
            self.given.pop_front();
        }
        match self.given.front() {
            Some((then, given)) if *then + patience < at => given.saturating_sub(done),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(2);

    /// Ten requests a second, of which so many are answered at once.
    fn overdue(answered: u64, seconds: u64) -> u64 {
        let mut unanswered = Unanswered::default();
        let mut last = 0;
        for tick in 0..=seconds * 10 {
            let given = tick;
            last = unanswered.observe(Duration::from_millis(tick * 100), PATIENCE, given, given * answered / 10);
        }
        last
    }

    #[test]
    fn a_total_hang_shows_after_the_patience() {
        assert_eq!(overdue(0, 2), 0);
        assert!((5..=10).contains(&overdue(0, 3)), "{}", overdue(0, 3));
    }

    #[test]
    fn a_third_that_hangs_shows_later() {
        assert_eq!(overdue(7, 6), 0);
        assert!(overdue(7, 10) >= 8, "{}", overdue(7, 10));
    }

    #[test]
    fn answers_in_time_are_never_overdue() {
        for seconds in 0..100 {
            assert_eq!(overdue(10, seconds), 0);
        }
    }
}
