//! What processes share beside the counters: the number of events, the chosen standby, the number of trials, and the master that
//! has left the state folder.

use std::sync::atomic::{AtomicU32, Ordering};

use cutover_core::slot::SlotId;

use super::memfd::{CHANGES_OFFSET, EVENTS_WORD, LEFT_OFFSET, Memfd, STANDBY_WORD};
use crate::ext;

impl Memfd {
    /// How many events the group of this record has had.
    pub(crate) fn events(&self, record: u32) -> Option<&AtomicU32> {
        self.entry_word(record, EVENTS_WORD)
    }

    /// The slot that was chosen to stand by.
    pub(crate) fn standby(&self, record: u32) -> Option<SlotId> {
        let chosen = self.entry_word(record, STANDBY_WORD)?.load(Ordering::Relaxed);
        SlotId::new(u8::try_from(chosen).ok()?)
    }

    /// Chooses the slot that stands by.
    pub(crate) fn choose_standby(&self, record: u32, id: SlotId) {
        if let Some(word) = self.entry_word(record, STANDBY_WORD) {
            word.store(u32::from(id.get()), Ordering::Relaxed);
        }
    }

    /// How many trials have begun. Every worker looks at the trials again when this has changed.
    pub(crate) fn changes(&self) -> Option<&AtomicU32> {
        self.word(CHANGES_OFFSET)
    }

    /// Tells the workers of this master that it has left the state folder; those of another one, in a binary upgrade, stay.
    pub(crate) fn leave_behind(&self) {
        if let Some(left) = self.word(LEFT_OFFSET) {
            left.store(ext::master_pid().cast_unsigned(), Ordering::SeqCst);
        }
    }

    /// Tells them that this master has come back.
    pub(crate) fn come_back(&self) {
        if let Some(left) = self.word(LEFT_OFFSET) {
            let own = ext::master_pid().cast_unsigned();
            let _ = left.compare_exchange(own, 0, Ordering::SeqCst, Ordering::SeqCst);
        }
    }

    /// Whether the master of this process has left the state folder.
    pub(crate) fn is_left_behind(&self) -> bool {
        let own = ext::master_pid().cast_unsigned();
        self.word(LEFT_OFFSET).is_some_and(|left| left.load(Ordering::SeqCst) == own)
    }
}
