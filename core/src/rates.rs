//! What a slot did in the last seconds, for people who look at it.
//!
//! ```text
//! a reading a second -> Fold (per edge) -> spans of the last minute -> requests/s, errors, p50, p99 of a window
//! ```
//!
//! Nothing here decides anything. A total that falls was counted by another nginx, see [`Fold`]. What an edge has counted while
//! it could not be read is spread evenly over that time.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::verdict::evidence::Evidence;
use crate::verdict::fold::Fold;
use crate::verdict::reading::Sample;
use crate::verdict::spread::Spread;

/// The longest window.
pub const LONGEST: Duration = Duration::from_secs(60);

/// Readings come at least so often.
const RHYTHM: Duration = Duration::from_millis(2_500);

/// A request that waits longer than this is overdue. The rates show no such requests, so any value does.
const PATIENCE: Duration = Duration::from_secs(30);

/// The rates of one slot in one window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// The seconds that were watched, at most those of the window.
    pub seconds: f64,
    /// Requests that were given to the slot.
    pub requests: u64,
    /// The same in a second.
    pub requests_per_s: f64,
    /// Answers, open upgraded connections left out.
    pub answers: u64,
    /// The answers with status 500 to 599, or that another slot gave in its place.
    pub errors: u64,
    /// Requests whose client went away.
    pub aborted: u64,
    /// Median from the begin of an attempt to the first byte, in microseconds, off by 6 % at most; absent: no answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_us: Option<u64>,
    /// The same of the 99th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_us: Option<u64>,
}

/// The last minute of one slot.
#[derive(Clone, Debug, Default)]
pub struct LastMinute {
    edges: BTreeMap<String, OfEdge>,
    /// The oldest first.
    spans: VecDeque<Span>,
    /// The first reading.
    begun: Option<Duration>,
}

#[derive(Clone, Debug, Default)]
struct OfEdge {
    fold: Fold,
    /// The last reading.
    read: Option<Duration>,
}

/// What one edge counted between two readings.
#[derive(Clone, Debug)]
struct Span {
    from: Duration,
    to: Duration,
    given: u64,
    answers: u64,
    errors: u64,
    aborted: u64,
    first_byte: Vec<(usize, u64)>,
}

impl LastMinute {
    /// Adds what an edge has counted until now. The readings of an edge come in the order of their time; an edge that cannot be
    /// read is left out. What happened before the first reading does not count.
    pub fn observe(&mut self, at: Duration, edge: &str, sample: &Sample) {
        let of_edge = self.edges.entry(edge.to_owned()).or_default();
        let more = of_edge.fold.observe(at, sample, PATIENCE);
        if let Some(from) = of_edge.read.replace(at) {
            self.spans.push_back(Span::of(from, at, &more));
        }
        self.begun.get_or_insert(at);
        self.spans.retain(|span| span.to + LONGEST > at);
    }

    /// The rates in the last `window` before `now`, at most [`LONGEST`]. `None`: there were no two readings of an edge in it.
    pub fn rates(&self, now: Duration, window: Duration) -> Option<Rates> {
        // The time since the last reading says nothing yet.
        let last = self.spans.iter().map(|span| span.to).max()?;
        let now = if now > last && now <= last + RHYTHM { last } else { now };
        let begin = self.begun?.max(now.saturating_sub(window.min(LONGEST)));
        let inside: Vec<(&Span, f64)> = self
            .spans
            .iter()
            .map(|span| (span, span.part_after(begin)))
            .filter(|(_, part)| *part > 0.0)
            .collect();
        let seconds = now.saturating_sub(begin).as_secs_f64();
        if inside.is_empty() || seconds <= 0.0 {
            return None;
        }
        let sum =
            |of: fn(&Span) -> u64| inside.iter().map(|(span, part)| of(span) as f64 * part).sum::<f64>();
        let first_byte: Spread =
            inside.iter().flat_map(|(span, _)| span.first_byte.iter().copied()).collect();
        let requests = sum(|span| span.given);
        Some(Rates {
            seconds: rounded(seconds),
            requests: requests.round() as u64,
            requests_per_s: rounded(requests / seconds),
            answers: sum(|span| span.answers).round() as u64,
            // A part of an error is shown as one.
            errors: (sum(|span| span.errors) - 1e-6).ceil().max(0.0) as u64,
            aborted: sum(|span| span.aborted).round() as u64,
            p50_us: first_byte.quantile_us(0.5),
            p99_us: first_byte.quantile_us(0.99),
        })
    }
}

impl Span {
    fn of(from: Duration, to: Duration, more: &Evidence) -> Self {
        let Evidence { given, responses, first_byte, .. } = more;
        Self {
            from,
            to,
            given: *given,
            answers: responses.total().saturating_sub(responses.aborted),
            errors: responses.server_error.saturating_add(responses.rescued),
            aborted: responses.aborted,
            first_byte: first_byte.filled().collect(),
        }
    }

    /// The part of this span that is later than `begin`, 0 to 1.
    fn part_after(&self, begin: Duration) -> f64 {
        let whole = self.to.saturating_sub(self.from).as_secs_f64();
        let later = self.to.saturating_sub(self.from.max(begin)).as_secs_f64();
        if whole > 0.0 { later / whole } else { f64::from(u8::from(self.to > begin)) }
    }
}

/// To a tenth.
fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::{Counters, Responses};
    use crate::latency::bucket_of;

    const EDGE: &str = "local";

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Totals after so many requests, so many of them 5xx. Each took 10 ms.
    fn counted(requests: u64, errors: u64) -> Sample {
        let responses =
            Responses { success: requests - errors, server_error: errors, ..Responses::default() };
        let counters = Counters { requests, attempts: requests, responses, ..Counters::default() };
        let first_byte = [(bucket_of(10_000), requests)].into_iter().collect();
        Sample { counters, first_byte, ..Sample::default() }
    }

    #[test]
    fn two_windows_of_a_steady_load() {
        let mut minute = LastMinute::default();
        assert_eq!(minute.rates(s(0), s(10)), None);
        for second in 0..=120 {
            // Errors in the last five seconds only.
            let errors = 10 * u64::saturating_sub(second, 115);
            minute.observe(s(second), EDGE, &counted(1_000 + 20 * second, errors));
        }
        let short = minute.rates(s(120), s(10)).unwrap();
        assert_eq!(
            (short.seconds, short.requests, short.requests_per_s, short.errors),
            (10.0, 200, 20.0, 50)
        );
        let long = minute.rates(s(120), s(60)).unwrap();
        assert_eq!((long.seconds, long.requests, long.requests_per_s, long.errors), (60.0, 1200, 20.0, 50));
        let (p50, p99) = (short.p50_us.unwrap(), short.p99_us.unwrap());
        assert!(p50.abs_diff(10_000) <= 600 && p99.abs_diff(10_000) <= 600, "{p50} {p99}");
        assert!(minute.spans.len() <= 61, "{}", minute.spans.len());
    }

    #[test]
    fn what_was_counted_before_the_first_reading_is_left_out() {
        let mut minute = LastMinute::default();
        minute.observe(s(7), EDGE, &counted(1_000_000, 500));
        assert_eq!(minute.rates(s(7), s(10)), None);
        minute.observe(s(8), EDGE, &counted(1_000_004, 500));
        let rates = minute.rates(s(8), s(10)).unwrap();
        assert_eq!((rates.seconds, rates.requests_per_s, rates.errors), (1.0, 4.0, 0));
    }

    #[test]
    fn counters_that_go_back_are_those_of_another_nginx() {
        let mut minute = LastMinute::default();
        minute.observe(s(0), EDGE, &counted(1_000, 10));
        minute.observe(s(1), EDGE, &counted(1_010, 10));
        // nginx was restarted, and has served five requests since.
        minute.observe(s(2), EDGE, &counted(5, 1));
        minute.observe(s(3), EDGE, &counted(15, 1));
        let rates = minute.rates(s(3), s(10)).unwrap();
        assert_eq!((rates.requests, rates.answers, rates.errors), (25, 25, 1));
    }

    #[test]
    fn a_gap_is_spread_over_its_time() {
        let mut minute = LastMinute::default();
        minute.observe(s(0), EDGE, &counted(0, 0));
        minute.observe(s(40), EDGE, &counted(400, 40));
        let rates = minute.rates(s(40), s(10)).unwrap();
        assert_eq!((rates.requests, rates.requests_per_s, rates.errors), (100, 10.0, 10));
        let long = minute.rates(s(40), s(60)).unwrap();
        assert_eq!((long.seconds, long.requests), (40.0, 400));
    }

    #[test]
    fn several_edges_add_up_and_one_that_is_away_adds_nothing() {
        let mut minute = LastMinute::default();
        for second in 0..=30 {
            minute.observe(s(second), "paris", &counted(10 * second, 0));
            if second <= 10 {
                minute.observe(s(second), "lyon", &counted(30 * second, second));
            }
        }
        let short = minute.rates(s(30), s(10)).unwrap();
        assert_eq!((short.requests_per_s, short.errors), (10.0, 0));
        let long = minute.rates(s(30), s(60)).unwrap();
        assert_eq!((long.requests, long.errors), (600, 10));
        // It is back: what it counted meanwhile belongs to that time.
        minute.observe(s(31), "paris", &counted(310, 0));
        minute.observe(s(31), "lyon", &counted(30 * 31, 10));
        let back = minute.rates(s(31), s(10)).unwrap();
        assert_eq!(back.requests_per_s, 40.0);
    }

    #[test]
    fn nothing_is_left_when_nobody_has_read_for_a_minute() {
        let mut minute = LastMinute::default();
        minute.observe(s(0), EDGE, &counted(0, 0));
        minute.observe(s(1), EDGE, &counted(9, 0));
        assert_eq!(minute.rates(s(100), s(10)), None);
    }
}
