//! For tests: a daemon that is killed at one record of its journal.

use std::sync::atomic::{AtomicI64, Ordering};

/// Counts transitions down to the one at which the driver is stopped.
#[derive(Debug)]
pub(crate) struct Cut {
    before: AtomicI64,
    after: AtomicI64,
}

impl Default for Cut {
    fn default() -> Self {
        Self { before: AtomicI64::new(i64::MAX), after: AtomicI64::new(i64::MAX) }
    }
}

impl Cut {
    /// So many records are written; the next one is lost: its effect was done and nobody knows.
    pub(crate) fn lose_after(&self, records: i64) {
        self.before.store(records, Ordering::SeqCst);
    }

    /// The driver is stopped right after so many records: the next effect was announced and not begun.
    pub(crate) fn stop_after(&self, records: i64) {
        self.after.store(records, Ordering::SeqCst);
    }

    pub(super) fn lost(&self) -> bool {
        self.before.fetch_sub(1, Ordering::SeqCst) <= 0
    }

    pub(super) fn reached(&self) -> bool {
        self.after.fetch_sub(1, Ordering::SeqCst) <= 1
    }
}
