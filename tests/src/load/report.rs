//! The counts of a load.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use super::check::RequestOutcome;
use crate::slot_oracle::SlotOracle;

/// The counts of a load.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Finished requests.
    pub total: u64,
    /// Answers from a slot that had already lost the traffic when the request was sent, or did not have it yet.
    pub stale: u64,
    /// Kept-alive connections that nginx closed before the first byte of an answer; the request was sent again.
    pub reconnects: u64,
    /// The longest time from a request to the end of its answer, or to its failure.
    pub longest_wait: Duration,
    /// Requests without a complete, correct answer.
    pub failures: Vec<Failure>,
    /// Answers by slot, correct or not.
    pub by_slot: BTreeMap<String, u64>,
    /// Answers by the application's version, correct or not.
    pub by_version: BTreeMap<String, u64>,
    doubtful: Vec<Doubtful>,
}

/// A request without a complete, correct answer.
#[derive(Clone, Debug)]
pub struct Failure {
    /// When the request was sent.
    pub sent: Instant,
    /// When the request failed.
    pub at: Instant,
    /// How it failed.
    pub outcome: RequestOutcome,
}

#[derive(Clone, Debug)]
struct Doubtful {
    slot: String,
    sent: Instant,
    answered: Instant,
}

impl Report {
    /// Requests without a complete, correct answer.
    pub fn failed(&self) -> u64 {
        self.failures.len() as u64
    }

    /// The time from the first request that failed to the last failure.
    pub fn bad_for(&self) -> Duration {
        let first = self.failures.iter().map(|failure| failure.sent).min();
        let last = self.failures.iter().map(|failure| failure.at).max();
        first.zip(last).map_or(Duration::ZERO, |(first, last)| last - first)
    }

    /// The stale answers: the slot, and when the request was sent.
    pub fn stale_answers(&self) -> impl Iterator<Item = (&str, Instant)> {
        self.doubtful.iter().map(|doubtful| (doubtful.slot.as_str(), doubtful.sent))
    }

    /// The stale answers to requests that were sent after this time.
    pub fn stale_since(&self, since: Instant) -> usize {
        self.stale_answers().filter(|(_, sent)| *sent > since).count()
    }

    pub(super) fn add(&mut self, sent: Instant, answered: Instant, outcome: RequestOutcome, allowed: bool) {
        self.total += 1;
        self.longest_wait = self.longest_wait.max(answered - sent);
        if let Some(version) = &outcome.version {
            *self.by_version.entry(version.clone()).or_default() += 1;
        }
        if let Some(slot) = &outcome.slot {
            *self.by_slot.entry(slot.clone()).or_default() += 1;
            if !allowed {
                self.doubtful.push(Doubtful { slot: slot.clone(), sent, answered });
            }
        }
        if outcome.wrong.is_some() {
            self.failures.push(Failure { sent, at: answered, outcome });
        }
    }

    /// Checks stale answers again, because an observed switch is known only after it has happened.
    pub fn settle(&mut self, expected: &SlotOracle) {
        self.doubtful.retain(|doubtful| !expected.allows(&doubtful.slot, doubtful.sent, doubtful.answered));
        self.stale = self.doubtful.len() as u64;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} requests, {} failed, {} stale, {} reconnects, by slot {:?}",
            self.total,
            self.failures.len(),
            self.stale,
            self.reconnects,
            self.by_slot
        )?;
        let mut kinds = BTreeMap::<String, u64>::new();
        for Failure { outcome, .. } in &self.failures {
            let slot = outcome.slot.as_deref().unwrap_or("no slot");
            let wrong = outcome.wrong.as_deref().unwrap_or_default();
            *kinds.entry(format!("{slot}: {wrong}")).or_default() += 1;
        }
        for (kind, count) in kinds {
            write!(f, "\n  failed {count} x {kind}")?;
        }
        for Doubtful { slot, sent, answered } in self.doubtful.iter().take(10) {
            write!(f, "\n  stale: {slot} answered a request that was sent {:?} before", *answered - *sent)?;
        }
        Ok(())
    }
}
