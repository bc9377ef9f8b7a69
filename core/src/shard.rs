//! The counters of one slot in memory that all processes of nginx share: a page for each process, and another one for previews.
//!
//! A process writes only its own page, by plain loads and stores, so no cache line bounces between processors and nothing
//! needs a lock; a reader sums all pages. The layout is the contract between module versions: change [`LAYOUT`] with it.

use crate::counters::{Bytes, Counters, Failures, Previews, Responses, ServerErrors};
use crate::guard::Window;
use crate::latency::{Cells, Histogram};
use crate::sync::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestEnd {
    /// An answer with this HTTP status.
    Status(u16),
    /// No answer: the client went away.
    Aborted,
    /// Another slot was asked.
    Rescued {
        /// Because this one failed; not because it gave an answer that nginx passes on without holding it against the server.
        blame: bool,
    },
}

impl RequestEnd {
    /// Whether the guard holds it against the slot.
    pub fn is_error(self) -> bool {
        matches!(self, Self::Status(500..) | Self::Rescued { blame: true })
    }
}

/// Why an attempt failed; see [`Failures`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of Failures say it")]
pub enum AttemptFailure {
    Connect,
    Timeout,
    Answer,
    Status,
    NoPeer,
}

/// One process's counters of one slot.
#[repr(C, align(4096))]
#[derive(Debug, Default)]
pub struct Shard {
    requests: AtomicU64,
    attempts: AtomicU64,
    connect: AtomicU64,
    timeout: AtomicU64,
    answer: AtomicU64,
    status: AtomicU64,
    no_peer: AtomicU64,
    informational: AtomicU64,
    success: AtomicU64,
    redirection: AtomicU64,
    client_error: AtomicU64,
    server_error: AtomicU64,
    internal: AtomicU64,
    bad_gateway: AtomicU64,
    unavailable: AtomicU64,
    gateway_timeout: AtomicU64,
    aborted: AtomicU64,
    rescued: AtomicU64,
    bytes_sent: AtomicU64,
    bytes_received: AtomicU64,
    in_flight: AtomicI64,
    upgraded: AtomicI64,
    first_byte_us: AtomicU64,
    whole_us: AtomicU64,
    /// What the guard looks at while a change is on trial.
    pub window: Window,
    first_byte: Cells,
    whole: Cells,
}

/// Version of the layout of [`Shard`].
pub const LAYOUT: u32 = 3;

/// Bytes of a [`Shard`].
pub const SHARD_SIZE: usize = 4096;

#[cfg(not(loom))]
const _: () = assert!(size_of::<Shard>() == SHARD_SIZE);

/// Only the process that owns the shard writes: no read-modify-write is needed.
#[inline]
fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(more), Relaxed);
}

#[inline]
fn shift(gauge: &AtomicI64, by: i64) {
    gauge.store(gauge.load(Relaxed).wrapping_add(by), Relaxed);
}

impl Shard {
    /// The slot was chosen for a request: from here on it must not be stopped.
    #[inline]
    pub fn hold(&self) {
        shift(&self.in_flight, 1);
    }

    /// A request that [`hold`](Self::hold) was for needs the slot no more.
    #[inline]
    pub fn release(&self) {
        shift(&self.in_flight, -1);
    }

    /// A request that holds the slot was given to its upstream.
    #[inline]
    pub fn started(&self) {
        add(&self.requests, 1);
    }

    /// A peer of the slot is tried.
    #[inline]
    pub fn attempt(&self) {
        add(&self.attempts, 1);
    }

    /// An attempt failed.
    pub fn attempt_failed(&self, why: AttemptFailure) {
        let counter = match why {
            AttemptFailure::Connect => &self.connect,
            AttemptFailure::Timeout => &self.timeout,
            AttemptFailure::Answer => &self.answer,
            AttemptFailure::Status => &self.status,
            AttemptFailure::NoPeer => &self.no_peer,
        };
        add(counter, 1);
    }

    /// An attempt has ended, however it did: what went over its connection.
    #[inline]
    pub fn transferred(&self, sent: u64, received: u64) {
        add(&self.bytes_sent, sent);
        add(&self.bytes_received, received);
    }

    /// The first byte of an answer came so many microseconds after the attempt began.
    #[inline]
    pub fn first_byte(&self, micros: u64) {
        add(&self.first_byte_us, micros);
        self.first_byte.count(micros);
    }

    /// A whole answer was there so many microseconds after the attempt began.
    #[inline]
    pub fn whole(&self, micros: u64) {
        add(&self.whole_us, micros);
        self.whole.count(micros);
    }

    /// A connection was upgraded.
    pub fn upgraded(&self) {
        shift(&self.upgraded, 1);
    }

    /// An upgraded connection has closed.
    pub fn downgraded(&self) {
        shift(&self.upgraded, -1);
    }

    /// A request that [`started`](Self::started) has ended; it holds the slot no more.
    #[inline]
    pub fn finished(&self, outcome: RequestEnd) {
        let counter = match outcome {
            RequestEnd::Status(200..300) => &self.success,
            RequestEnd::Status(..200) => &self.informational,
            RequestEnd::Status(300..400) => &self.redirection,
            RequestEnd::Status(400..500) => &self.client_error,
            RequestEnd::Status(status) => self.server_error(status),
            RequestEnd::Aborted => &self.aborted,
            RequestEnd::Rescued { .. } => &self.rescued,
        };
        add(counter, 1);
        self.release();
    }

    #[cold]
    fn server_error(&self, status: u16) -> &AtomicU64 {
        let one = match status {
            500 => Some(&self.internal),
            502 => Some(&self.bad_gateway),
            503 => Some(&self.unavailable),
            504 => Some(&self.gateway_timeout),
            _ => None,
        };
        if let Some(one) = one {
            add(one, 1);
        }
        &self.server_error
    }

    /// The process that wrote this shard is gone and took its requests along.
    pub fn forget_in_flight(&self) {
        self.in_flight.store(0, Relaxed);
        self.upgraded.store(0, Relaxed);
    }

    /// Adds this shard to `sum`; its gauges only if the process that writes it lives.
    pub fn add_to(&self, sum: &mut Sum, alive: bool) {
        let get = |counter: &AtomicU64| counter.load(Relaxed);
        let failures = &mut sum.failures;
        failures.connect += get(&self.connect);
        failures.timeout += get(&self.timeout);
        failures.answer += get(&self.answer);
        failures.status += get(&self.status);
        failures.no_peer += get(&self.no_peer);
        let errors = &mut sum.server_errors;
        errors.internal += get(&self.internal);
        errors.bad_gateway += get(&self.bad_gateway);
        errors.unavailable += get(&self.unavailable);
        errors.gateway_timeout += get(&self.gateway_timeout);
        sum.bytes.sent += get(&self.bytes_sent);
        sum.bytes.received += get(&self.bytes_received);
        sum.first_byte.sum_us += get(&self.first_byte_us);
        sum.whole.sum_us += get(&self.whole_us);
        self.first_byte.add_to(&mut sum.first_byte);
        self.whole.add_to(&mut sum.whole);

        let counters = &mut sum.counters;
        counters.requests += get(&self.requests);
        counters.attempts += get(&self.attempts);
        counters.attempts_failed = failures.total();
        self.add_responses_to(&mut counters.responses);
        if alive {
            counters.in_flight += gauge(&self.in_flight);
            sum.upgraded += gauge(&self.upgraded);
        }
    }

    /// The same for a shard of previews.
    pub fn add_previews_to(&self, sum: &mut Previews, alive: bool) {
        sum.requests += self.requests.load(Relaxed);
        self.add_responses_to(&mut sum.responses);
        if alive {
            sum.in_flight += gauge(&self.in_flight);
            sum.upgraded += gauge(&self.upgraded);
        }
    }

    fn add_responses_to(&self, sum: &mut Responses) {
        let get = |counter: &AtomicU64| counter.load(Relaxed);
        let Responses { informational, success, redirection, client_error, server_error, aborted, rescued } =
            sum;
        *informational += get(&self.informational);
        *success += get(&self.success);
        *redirection += get(&self.redirection);
        *client_error += get(&self.client_error);
        *server_error += get(&self.server_error);
        *aborted += get(&self.aborted);
        *rescued += get(&self.rescued);
    }
}

/// A gauge that has drifted below zero is none.
fn gauge(gauge: &AtomicI64) -> u64 {
    u64::try_from(gauge.load(Relaxed)).unwrap_or(0)
}

/// All shards of a slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Requests and attempts.
    pub counters: Counters,
    /// Failed attempts by what was wrong.
    pub failures: Failures,
    /// 5xx answers by status.
    pub server_errors: ServerErrors,
    /// What went over the connections.
    pub bytes: Bytes,
    /// Upgraded connections that are open now.
    pub upgraded: u64,
    /// From the begin of an attempt to the first byte of its answer.
    pub first_byte: Histogram,
    /// From the begin of an attempt to the end of its answer.
    pub whole: Histogram,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(shards: &[&Shard]) -> Sum {
        let mut sum = Sum::default();
        shards.iter().for_each(|shard| shard.add_to(&mut sum, true));
        sum
    }

    #[test]
    fn each_outcome_lands_in_its_class() {
        let shard = Box::<Shard>::default();
        for status in [101, 200, 204, 301, 404, 500, 502, 599] {
            shard.hold();
            shard.started();
            shard.finished(RequestEnd::Status(status));
        }
        for outcome in [RequestEnd::Aborted, RequestEnd::Rescued { blame: true }] {
            shard.hold();
            shard.started();
            shard.finished(outcome);
        }
        shard.hold();
        shard.started();
        let sum = sum(&[&shard]);
        assert_eq!((sum.counters.requests, sum.counters.in_flight), (11, 1));
        let responses = Responses {
            informational: 1,
            success: 2,
            redirection: 1,
            client_error: 1,
            server_error: 3,
            aborted: 1,
            rescued: 1,
        };
        assert_eq!(sum.counters.responses, responses);
        assert_eq!(sum.counters.responses.total(), 10);
        assert_eq!(
            sum.server_errors,
            ServerErrors { internal: 1, bad_gateway: 1, ..ServerErrors::default() }
        );
    }

    #[test]
    fn shards_add_up() {
        let (one, other) = (Box::<Shard>::default(), Box::<Shard>::default());
        one.attempt_failed(AttemptFailure::Connect);
        one.transferred(10, 20);
        one.first_byte(1_000);
        other.attempt_failed(AttemptFailure::NoPeer);
        other.transferred(1, 2);
        other.whole(5_000);
        other.upgraded();
        let sum = sum(&[&one, &other]);
        assert_eq!(sum.failures, Failures { connect: 1, no_peer: 1, ..Failures::default() });
        assert_eq!(sum.counters.attempts_failed, 2);
        assert_eq!(sum.bytes, Bytes { sent: 11, received: 22 });
        assert_eq!((sum.first_byte.count(), sum.first_byte.sum_us), (1, 1_000));
        assert_eq!((sum.whole.count(), sum.whole.sum_us, sum.upgraded), (1, 5_000, 1));
    }

    #[test]
    fn previews_add_up() {
        let (one, other) = (Box::<Shard>::default(), Box::<Shard>::default());
        for status in [101, 200, 302, 404, 503] {
            one.hold();
            one.started();
            one.finished(RequestEnd::Status(status));
        }
        for shard in [&one, &other] {
            shard.hold();
            shard.started();
            shard.upgraded();
        }
        other.hold();
        other.started();
        other.finished(RequestEnd::Aborted);
        let responses = Responses {
            informational: 1,
            success: 1,
            redirection: 1,
            client_error: 1,
            server_error: 1,
            aborted: 1,
            rescued: 0,
        };
        let mut sum = Previews::default();
        one.add_previews_to(&mut sum, true);
        other.add_previews_to(&mut sum, false);
        assert_eq!(
            sum,
            Previews { requests: 8, responses, in_flight: 1, upgraded: 1 },
            "one process is dead"
        );
    }

    #[test]
    fn a_dead_process_holds_no_request() {
        let shard = Box::<Shard>::default();
        shard.hold();
        shard.started();
        shard.upgraded();
        let mut dead = Sum::default();
        shard.add_to(&mut dead, false);
        assert_eq!((dead.counters.requests, dead.counters.in_flight, dead.upgraded), (1, 0, 0));
        shard.forget_in_flight();
        let sum = sum(&[&shard]);
        assert_eq!((sum.counters.in_flight, sum.upgraded), (0, 0));
    }
}
