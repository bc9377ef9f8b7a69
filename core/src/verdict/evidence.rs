//! What one slot did in a span of time. All numbers only grow, so evidence can be added up.

use serde::{Deserialize, Serialize};

use super::sequential::bernoulli::Count;
use super::spread::Spread;
use crate::counters::{Failures, Responses, ServerErrors};

/// The evidence about one slot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Requests that were given to the slot.
    pub given: u64,
    /// Requests that were answered well enough: every status below 500, and upgraded connections, open ones included.
    pub good: u64,
    /// Requests that were answered badly: 5xx, rescued by the other slot, or unanswered for longer than the patience.
    pub bad: u64,
    /// The part of `bad` that was unanswered.
    pub unanswered: u64,
    /// The part of `good` and `bad` that the daemon asked for itself, see [`SYNTHETIC`](super::reading::SYNTHETIC).
    #[serde(default)]
    pub synthetic: u64,
    /// How the finished requests ended.
    pub responses: Responses,
    /// 5xx answers by status.
    pub server_errors: ServerErrors,
    /// Tries of a peer.
    pub attempts: u64,
    /// Failed attempts.
    pub attempts_failed: u64,
    /// Failed attempts by what was wrong.
    pub failures: Failures,
    /// Connections that were upgraded.
    pub upgrades: u64,
    /// Upgraded connections that opened and closed between two readings.
    pub short_upgrades: u64,
    /// Latencies until the first byte.
    pub first_byte: Spread,
    /// Latencies until the end of the answer.
    pub whole: Spread,
}

impl Evidence {
    /// Adds what happened later, or on another edge.
    pub fn add(&mut self, more: &Evidence) {
        let plus = u64::saturating_add;
        self.given = plus(self.given, more.given);
        self.good = plus(self.good, more.good);
        self.bad = plus(self.bad, more.bad);
        self.unanswered = plus(self.unanswered, more.unanswered);
        self.synthetic = plus(self.synthetic, more.synthetic);
        self.responses = self.responses.zip(&more.responses, plus);
        self.server_errors = self.server_errors.zip(&more.server_errors, plus);
        self.attempts = plus(self.attempts, more.attempts);
        self.attempts_failed = plus(self.attempts_failed, more.attempts_failed);
        self.failures = self.failures.zip(&more.failures, plus);
        self.upgrades = plus(self.upgrades, more.upgrades);
        self.short_upgrades = plus(self.short_upgrades, more.short_upgrades);
        self.first_byte.add(&more.first_byte);
        self.whole.add(&more.whole);
    }

    /// Answers that say something about the slot, those that are overdue included.
    pub fn answers(&self) -> Count {
        Count { of: self.good.saturating_add(self.bad), bad: self.bad }
    }

    /// 4xx among all answers.
    pub fn client_errors(&self) -> Count {
        self.class(self.responses.client_error)
    }

    /// 3xx among all answers.
    pub fn redirects(&self) -> Count {
        self.class(self.responses.redirection)
    }

    /// Requests whose client went away, among all that ended.
    pub fn aborted(&self) -> Count {
        Count { of: self.responses.total(), bad: self.responses.aborted }
    }

    /// Failed attempts among all.
    pub fn attempts(&self) -> Count {
        Count { of: self.attempts, bad: self.attempts_failed.min(self.attempts) }
    }

    /// Upgraded connections that did not live from one reading to the next.
    pub fn upgrades(&self) -> Count {
        Count { of: self.upgrades, bad: self.short_upgrades.min(self.upgrades) }
    }

    fn class(&self, bad: u64) -> Count {
        Count { of: self.responses.total().saturating_sub(self.responses.aborted), bad }
    }
}
