//! The results of synthetic requests, counted as nginx counts those of users.

use std::sync::{Mutex, MutexGuard, PoisonError};

use cutover_core::latency::bucket_of;
use cutover_core::smoke::Answer;
use cutover_core::verdict::Sample;
use tokio::time::Instant;

/// What the synthetic requests of a soak have come to.
#[derive(Debug, Default)]
pub(in crate::driver) struct Results(Mutex<Sample>);

impl Results {
    pub(super) fn sent(&self) {
        let counters = &mut self.sample().counters;
        counters.requests += 1;
        counters.attempts += 1;
        counters.in_flight += 1;
    }

    /// Counts an answer that is as expected, whatever its status.
    pub(super) fn good(&self, begun: Instant) {
        let us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let mut sample = self.sample();
        sample.counters.in_flight -= 1;
        sample.counters.responses.success += 1;
        sample.first_byte.insert(bucket_of(us), 1);
    }

    /// Counts an answer that is not as expected. `None`: there was none in time.
    pub(super) fn bad(&self, answer: Option<&Answer>) {
        let mut sample = self.sample();
        sample.counters.in_flight -= 1;
        sample.counters.responses.server_error += 1;
        let errors = &mut sample.server_errors;
        match answer.map(|answer| answer.status) {
            Some(500) => errors.internal += 1,
            Some(502) => errors.bad_gateway += 1,
            Some(503) => errors.unavailable += 1,
            Some(504) => errors.gateway_timeout += 1,
            Some(_) => {}
            None => {
                sample.failures.answer += 1;
                sample.counters.attempts_failed += 1;
            }
        }
    }

    pub(super) fn sample(&self) -> MutexGuard<'_, Sample> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
