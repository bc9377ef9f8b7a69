//! What is counted for each slot, and how it is summed.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

/// What a slot has been sent and has answered. Totals only grow while nginx runs; `in_flight` is a gauge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Requests (subrequests included) that were given to the slot.
    pub requests: u64,
    /// Tries of a peer; a request that nginx retries has several. A try that found no live peer counts too.
    pub attempts: u64,
    /// Attempts that failed: no connection, no answer in time, a bad or cut-off answer, a status that
    /// `proxy_next_upstream` treats as a failure, or no live peer.
    pub attempts_failed: u64,
    /// How the finished requests ended.
    pub responses: Responses,
    /// Requests that the slot holds now, upgraded connections included.
    pub in_flight: u64,
}

/// Finished requests by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Responses {
    /// Status 100-199: in practice 101, upgraded connections that have closed.
    #[serde(rename = "1xx")]
    pub informational: u64,
    /// Status 200-299.
    #[serde(rename = "2xx")]
    pub success: u64,
    /// Status 300-399.
    #[serde(rename = "3xx")]
    pub redirection: u64,
    /// Status 400-499.
    #[serde(rename = "4xx")]
    pub client_error: u64,
    /// Status 500-599, from the slot or from nginx because the slot gave no good answer.
    #[serde(rename = "5xx")]
    pub server_error: u64,
    /// Ended without an answer because the client went away.
    pub aborted: u64,
}

impl Responses {
    /// Finished requests, however they ended.
    pub fn total(&self) -> u64 {
        self.informational
            + self.success
            + self.redirection
            + self.client_error
            + self.server_error
            + self.aborted
    }
}

impl Counters {
    /// What was added since `earlier`. A total that went backwards (nginx was restarted) counts from zero; `in_flight` is
    /// taken from `self`.
    pub fn since(&self, earlier: &Counters) -> Counters {
        let restarted = self.requests < earlier.requests;
        let base = if restarted { Counters::default() } else { *earlier };
        let now = &self.responses;
        let then = &base.responses;
        Counters {
            requests: self.requests.saturating_sub(base.requests),
            attempts: self.attempts.saturating_sub(base.attempts),
            attempts_failed: self.attempts_failed.saturating_sub(base.attempts_failed),
            responses: Responses {
                informational: now.informational.saturating_sub(then.informational),
                success: now.success.saturating_sub(then.success),
                redirection: now.redirection.saturating_sub(then.redirection),
                client_error: now.client_error.saturating_sub(then.client_error),
                server_error: now.server_error.saturating_sub(then.server_error),
                aborted: now.aborted.saturating_sub(then.aborted),
            },
            in_flight: self.in_flight,
        }
    }
}

/// How a request ended, for [`Shard::finished`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer with this HTTP status.
    Status(u16),
    /// No answer: the client went away.
    Aborted,
}

/// One process's counters of one slot, in memory that all processes of nginx share.
///
/// Each process writes only its own shard, so no cache line bounces; whoever reads sums all shards. The layout is the
/// contract between module versions: change [`LAYOUT`] with it.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct Shard {
    requests: AtomicU64,
    attempts: AtomicU64,
    attempts_failed: AtomicU64,
    informational: AtomicU64,
    success: AtomicU64,
    redirection: AtomicU64,
    client_error: AtomicU64,
    server_error: AtomicU64,
    aborted: AtomicU64,
    in_flight: AtomicI64,
    reserved: [AtomicU64; 22],
}

/// Version of the layout of [`Shard`].
pub const LAYOUT: u32 = 1;

const _: () = assert!(size_of::<Shard>() == 256);

impl Shard {
    /// The slot was chosen for a request: from here on it must not be stopped.
    pub fn hold(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    /// A request that [`hold`](Self::hold) was for needs the slot no more.
    pub fn release(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// A request that holds the slot was given to its upstream.
    pub fn started(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    /// A peer of the slot is tried.
    pub fn attempt(&self) {
        self.attempts.fetch_add(1, Relaxed);
    }

    /// An attempt failed.
    pub fn attempt_failed(&self) {
        self.attempts_failed.fetch_add(1, Relaxed);
    }

    /// A request that [`started`](Self::started) has ended; it holds the slot no more.
    pub fn finished(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Aborted => &self.aborted,
            Outcome::Status(..200) => &self.informational,
            Outcome::Status(200..300) => &self.success,
            Outcome::Status(300..400) => &self.redirection,
            Outcome::Status(400..500) => &self.client_error,
            Outcome::Status(500..) => &self.server_error,
        };
        counter.fetch_add(1, Relaxed);
        self.release();
    }

    /// The process that wrote this shard is gone and took its requests along.
    pub fn forget_in_flight(&self) {
        self.in_flight.store(0, Relaxed);
    }

    /// Adds this shard to `sum`; its gauge only if the process that writes it lives.
    pub fn add_to(&self, sum: &mut Counters, alive: bool) {
        sum.requests += self.requests.load(Relaxed);
        sum.attempts += self.attempts.load(Relaxed);
        sum.attempts_failed += self.attempts_failed.load(Relaxed);
        sum.responses.informational += self.informational.load(Relaxed);
        sum.responses.success += self.success.load(Relaxed);
        sum.responses.redirection += self.redirection.load(Relaxed);
        sum.responses.client_error += self.client_error.load(Relaxed);
        sum.responses.server_error += self.server_error.load(Relaxed);
        sum.responses.aborted += self.aborted.load(Relaxed);
        if alive {
            sum.in_flight += u64::try_from(self.in_flight.load(Relaxed)).unwrap_or(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_lands_in_its_class() {
        let shard = Shard::default();
        for status in [101, 200, 204, 301, 404, 500, 502, 599] {
            shard.hold();
            shard.started();
            shard.finished(Outcome::Status(status));
        }
        shard.hold();
        shard.started();
        shard.finished(Outcome::Aborted);
        shard.hold();
        shard.started();
        let mut sum = Counters::default();
        shard.add_to(&mut sum, true);
        assert_eq!(sum.requests, 10);
        assert_eq!(sum.in_flight, 1);
        assert_eq!(
            sum.responses,
            Responses {
                informational: 1,
                success: 2,
                redirection: 1,
                client_error: 1,
                server_error: 3,
                aborted: 1
            }
        );
        assert_eq!(sum.responses.total(), 9);
    }

    #[test]
    fn a_dead_process_holds_no_request() {
        let shard = Shard::default();
        shard.hold();
        shard.started();
        let mut sum = Counters::default();
        shard.add_to(&mut sum, false);
        assert_eq!((sum.requests, sum.in_flight), (1, 0));
        shard.forget_in_flight();
        let mut sum = Counters::default();
        shard.add_to(&mut sum, true);
        assert_eq!(sum.in_flight, 0);
    }

    #[test]
    fn since_counts_from_zero_after_a_restart() {
        let before = Counters { requests: 100, attempts: 100, ..Counters::default() };
        let after = Counters { requests: 7, attempts: 8, in_flight: 2, ..Counters::default() };
        assert_eq!(after.since(&before).requests, 7);
        assert_eq!(after.since(&before).attempts, 8);
        let later = Counters { requests: 10, attempts: 12, ..Counters::default() };
        assert_eq!(later.since(&after).requests, 3);
    }

    #[test]
    fn classes_have_their_names_on_the_wire() {
        let json = serde_json::to_value(Counters::default()).unwrap();
        for class in ["1xx", "2xx", "3xx", "4xx", "5xx", "aborted"] {
            assert_eq!(json["responses"][class], 0, "{class}");
        }
    }
}
