//! Requests that have waited too long, from totals alone.
//!
//! No clock runs for a request. But of the requests that were given by the time `t`, at least `given(t) - done(now)` are
//! not done now, so they have waited for `now - t`. Requests that were given later and are done already hide as many of
//! them, so these are taken out as far as they are known: an answer that came within [`FAST`], and is counted later than
//! `t` and `FAST` after it, was asked for after `t`. A request that was tried twice can look younger than it is, so each
//! failed attempt takes one of them back. The number may be too low. It is not too high.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::spread::Spread;
use crate::latency::bucket_of;

/// How many moments are kept for one patience.
const MOMENTS: u32 = 64;

/// What is a fast answer: a bound of buckets, 2^18 microseconds.
const FAST: Duration = Duration::from_micros(1 << 18);

/// Totals of one slot on one nginx.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Requests that were given to the slot.
    pub(super) given: u64,
    /// Requests whose answer has begun, or that ended without one.
    pub(super) done: u64,
    /// First bytes that came within [`FAST`].
    pub(super) fast: u64,
    /// Failed attempts.
    pub(super) failed: u64,
}

/// How many first bytes were fast.
pub(super) fn fast(first_byte: &Spread) -> u64 {
    first_byte.count().saturating_sub(first_byte.from_bucket(bucket_of(FAST.as_micros() as u64)))
}

/// The totals of one nginx at a few moments of the last seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Unanswered {
    moments: VecDeque<(Duration, Progress)>,
}

impl Unanswered {
    /// Adds the totals of now, and returns how many requests have waited for the patience or longer, at least.
    pub(super) fn observe(&mut self, at: Duration, patience: Duration, now: Progress) -> u64 {
        let recent = self.moments.back().is_some_and(|(last, _)| at < *last + patience / MOMENTS);
        if !recent {
            self.moments.push_back((at, now));
        }
        // The newest of those that are old enough decides; what is older says less.
        while self.moments.get(1).is_some_and(|(then, _)| *then + patience <= at) {
            self.moments.pop_front();
        }
        match self.moments.front() {
            Some((then, before)) if *then + patience <= at => {
                let younger = self.younger(*then, before, now);
                before.given.saturating_sub(now.done.saturating_sub(younger))
            }
            _ => 0,
        }
    }

    /// Answers to requests that were given after this moment, as far as that is certain.
    fn younger(&self, than: Duration, before: &Progress, now: Progress) -> u64 {
        let from = self.moments.iter().find(|(at, _)| *at >= than + FAST);
        let fast = from.map_or(0, |(_, from)| now.fast.saturating_sub(from.fast));
        fast.saturating_sub(now.failed.saturating_sub(before.failed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(2);

    /// A hundred requests a second, of which so many of ten are answered at once, by readings ten times a second.
    fn overdue(answered: u64, seconds: u64, fast: bool) -> u64 {
        let mut unanswered = Unanswered::default();
        let mut last = 0;
        for tick in 0..=seconds * 10 {
            let done = tick * answered;
            let now = Progress { given: tick * 10, done, fast: if fast { done } else { 0 }, failed: 0 };
            last = unanswered.observe(Duration::from_millis(tick * 100), PATIENCE, now);
        }
        last
    }

    #[test]
    fn a_total_hang_shows_after_the_patience() {
        assert_eq!(overdue(0, 2, true), 0);
        assert!((90..=100).contains(&overdue(0, 3, true)), "{}", overdue(0, 3, true));
    }

    #[test]
    fn a_part_that_hangs_shows_soon_when_the_others_are_fast_and_later_when_not() {
        assert!((1..=30).contains(&overdue(7, 3, true)), "{}", overdue(7, 3, true));
        assert_eq!(overdue(7, 3, false), 0);
        assert!((1..=240).contains(&overdue(7, 8, false)), "{}", overdue(7, 8, false));
        assert_eq!((overdue(9, 5, true), overdue(9, 18, false)), (3, 0));
    }

    #[test]
    fn answers_in_time_are_never_overdue() {
        for seconds in 0..50 {
            assert_eq!((overdue(10, seconds, true), overdue(10, seconds, false)), (0, 0));
        }
    }

    #[test]
    fn a_second_attempt_does_not_make_a_request_younger() {
        // Ten requests are tried twice: the first attempt ends after five seconds, the second one answers at once.
        let mut unanswered = Unanswered::default();
        for tick in 0..=80 {
            let late = if tick >= 50 { 10 } else { 0 };
            let now = Progress { given: 10, done: late, fast: late, failed: late };
            let overdue = unanswered.observe(Duration::from_millis(tick * 100), PATIENCE, now);
            assert_eq!(overdue, if (20..50).contains(&tick) { 10 } else { 0 }, "{tick}");
        }
    }
}
