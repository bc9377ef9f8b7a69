//! A term: the time from the moment a daemon leads until its lease has run out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How often the owner of a term looks whether it is over.
const LOOK: Duration = Duration::from_millis(50);

/// A term. Clones are the same term.
#[derive(Clone, Debug)]
pub struct Term(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    epoch: i64,
    lease: i64,
    ttl_ms: u64,
    /// When the last renewal that etcd has confirmed was sent.
    renewed_ms: AtomicU64,
    is_over: AtomicBool,
}

impl Term {
    /// A term whose lease was confirmed by a call that was sent at `sent_ms`.
    pub(super) fn new(epoch: i64, lease: i64, ttl: Duration, sent_ms: u64) -> Self {
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        Self(Arc::new(Inner {
            epoch,
            lease,
            ttl_ms,
            renewed_ms: AtomicU64::new(sent_ms),
            is_over: AtomicBool::default(),
        }))
    }

    /// The epoch: it increases from leader to leader.
    pub fn epoch(&self) -> i64 {
        self.0.epoch
    }

    pub(super) fn lease(&self) -> i64 {
        self.0.lease
    }

    /// Whether it is certain that no other daemon leads: less than the time to live has passed since the last confirmed renewal
    /// was sent. Once this is false it stays so.
    pub fn is_certain(&self) -> bool {
        let ends_ms = self.0.renewed_ms.load(Ordering::Acquire).saturating_add(self.0.ttl_ms);
        if now_ms() >= ends_ms {
            self.end();
        }
        !self.0.is_over.load(Ordering::Acquire)
    }

    pub(super) fn renewed(&self, sent_ms: u64) {
        self.0.renewed_ms.fetch_max(sent_ms, Ordering::AcqRel);
    }

    /// Ends it before its time: etcd says that another daemon leads, or may.
    pub(super) fn end(&self) {
        self.0.is_over.store(true, Ordering::Release);
    }

    /// Waits until it is over.
    pub async fn over(&self) {
        while self.is_certain() {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Milliseconds by a clock that nobody can set and that goes on while the host sleeps.
pub(super) fn now_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let milliseconds = u64::try_from(now.tv_nsec).unwrap_or_default() / 1_000_000;
    seconds.saturating_mul(1_000).saturating_add(milliseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_that_was_not_renewed_in_time_is_over_for_good() {
        let ttl = Duration::from_secs(5);
        let term = Term::new(7, 1, ttl, now_ms() - 4_000);
        assert!(term.is_certain());
        term.renewed(now_ms() - 1_000);
        assert!(term.is_certain());
        let late = Term::new(7, 1, ttl, now_ms() - 5_000);
        assert!(!late.is_certain());
        late.renewed(now_ms());
        assert!(!late.is_certain(), "another daemon may have led in between");
    }

    #[test]
    fn an_old_renewal_does_not_shorten_it() {
        let term = Term::new(7, 1, Duration::from_secs(5), now_ms());
        term.renewed(now_ms() - 60_000);
        assert!(term.is_certain());
        term.end();
        assert!(!term.is_certain());
    }
}
