//! The results of synthetic requests, counted as nginx counts those of users.

use std::sync::{Mutex, MutexGuard, PoisonError};

use cutover_core::smoke::Answer;
use cutover_core::verdict::Sample;

/// What the synthetic requests of a soak have come to.
#[derive(Debug, Default)]
pub(in crate::driver) struct Results(Mutex<Sample>);

impl Results {
    /// Counts an answer that is as expected, whatever its status. Its latency is no evidence: it is that of one page, and the old
    /// version was asked for others.
    pub(super) fn good(&self) {
        self.count().counters.responses.success += 1;
    }

    /// Counts an answer that is not as expected. `None`: there was none in time.
    pub(super) fn bad(&self, answer: Option<&Answer>) {
        let mut sample = self.count();
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

    /// Counts a request together with its result: the end of a step drops the requests that are under way.
    fn count(&self) -> MutexGuard<'_, Sample> {
        let mut sample = self.sample();
        sample.counters.requests += 1;
        sample.counters.attempts += 1;
        sample
    }

    pub(super) fn sample(&self) -> MutexGuard<'_, Sample> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
