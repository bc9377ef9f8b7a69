//! Cumulative counters of one slot on one edge become evidence.
//!
//! A total that falls was counted by another nginx: one that was restarted and counts from zero, or during a binary
//! upgrade one of two that answer by turns. So there is a line of samples for each nginx, and a sample continues the line
//! that it fits best. What happened between the last sample of an nginx and its end is lost. Nothing is counted twice.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::evidence::Evidence;
use super::reading::Sample;
use super::unanswered::{Progress, Unanswered, fast};

/// As many nginx as may answer by turns, and a few that have ended.
const MOST_LINES: usize = 4;

/// After so many samples of others an nginx has ended. Its totals are left alone by the one that comes as far.
const IDLE: u32 = 64;

/// The samples of one slot on one edge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fold {
    /// One for each nginx that has answered, the newest last.
    lines: Vec<Line>,
}

impl Fold {
    /// Adds a sample and returns what is new. The first one is the baseline: nothing before it counts.
    pub fn observe(&mut self, at: Duration, sample: &Sample, patience: Duration) -> Evidence {
        let continued = (0..self.lines.len())
            .filter(|line| self.lines.get(*line).is_some_and(|line| !sample.fell_below(&line.last)))
            .max_by_key(|line| self.lines.get(*line).map(|line| line.last.counters.requests));
        let mut line = match continued {
            Some(line) => self.lines.remove(line),
            None if self.lines.is_empty() => {
                Line { last: sample.clone(), base: sample.clone(), ..Line::default() }
            }
            None => Line::default(),
        };
        let more = line.advance(at, sample, patience);
        self.lines.iter_mut().for_each(|other| other.idle += 1);
        self.lines.retain(|other| other.idle < IDLE);
        self.lines.push(Line { idle: 0, ..line });
        if self.lines.len() > MOST_LINES {
            self.lines.remove(0);
        }
        more
    }
}

/// One nginx.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    /// What had been counted before the watch.
    base: Sample,
    last: Sample,
    waiting: Unanswered,
    /// Good and bad answers until now.
    good: u64,
    bad: u64,
    unanswered: u64,
    upgrades: u64,
    /// Samples of others since the last one of this nginx.
    #[serde(default)]
    idle: u32,
}

impl Line {
    fn advance(&mut self, at: Duration, now: &Sample, patience: Duration) -> Evidence {
        let last = std::mem::replace(&mut self.last, now.clone());
        let minus = u64::saturating_sub;
        let step = now.counters.zip(&last.counters, minus);
        let since = now.counters.zip(&self.base.counters, minus);
        let mut more = Evidence {
            given: step.requests,
            responses: step.responses,
            server_errors: now.server_errors.zip(&last.server_errors, minus),
            attempts: step.attempts,
            attempts_failed: step.attempts_failed,
            failures: now.failures.zip(&last.failures, minus),
            // More have closed than were open before: the rest opened in between.
            short_upgrades: step.responses.informational.saturating_sub(last.upgraded),
            first_byte: now.first_byte.since(&last.first_byte),
            whole: now.whole.since(&last.whole),
            ..Evidence::default()
        };
        // Open and closed ones, so each connection is counted when it is first seen, and once.
        let upgrades =
            since.responses.informational.saturating_add(now.upgraded).saturating_sub(self.base.upgraded);
        more.upgrades = grow(&mut self.upgrades, upgrades);

        let errors = since.errors();
        // An answer has begun with its first byte: a long download or an open stream does not wait.
        let begun = now.first_byte.since(&self.base.first_byte).count() + errors + since.responses.aborted;
        let done = (since.responses.total() + now.upgraded.saturating_sub(self.base.upgraded)).max(begun);
        let progress = Progress {
            given: since.requests,
            done,
            fast: fast(&now.first_byte),
            failed: since.attempts_failed,
        };
        let overdue = self.waiting.observe(at, patience, progress);
        more.bad = grow(&mut self.bad, errors.saturating_add(overdue));
        // Of what was overdue once, this part is now among the errors, and this part has ended well after all.
        let still_counted = self.bad.saturating_sub(errors);
        more.unanswered = grow(&mut self.unanswered, still_counted);
        let ended_late = still_counted.saturating_sub(overdue);
        let open = now.upgraded.saturating_sub(self.base.upgraded);
        let good = since.answered().saturating_add(open).saturating_sub(errors).saturating_sub(ended_late);
        more.good = grow(&mut self.good, good);
        more
    }
}

/// Raises a total to a value, if that is larger, and returns by how much.
fn grow(total: &mut u64, to: u64) -> u64 {
    let more = to.saturating_sub(*total);
    *total += more;
    more
}
