//! A journal on a disk that fills up, or hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cutover_core::deployment::{State, Time};

use super::journal::MemoryJournal;
use crate::journal::{Journal, JournalError, Unfinished};

/// A journal that takes no record while its disk is full.
#[derive(Clone, Debug)]
pub struct FullJournal {
    journal: MemoryJournal,
    is_full: Arc<AtomicBool>,
    may_be_followed: Arc<AtomicBool>,
    hangs: bool,
}

impl FullJournal {
    /// A journal with room. `hangs`: without room it does not answer at all.
    pub fn new(journal: MemoryJournal, hangs: bool) -> Self {
        Self { journal, is_full: Arc::default(), may_be_followed: Arc::default(), hangs }
    }

    /// Fills the disk, or makes room.
    pub fn fill(&self, is_full: bool) {
        self.is_full.store(is_full, Ordering::SeqCst);
    }

    /// Whether it is certain that no other process writes the journal.
    pub fn lead(&self, is_certain: bool) {
        self.may_be_followed.store(!is_certain, Ordering::SeqCst);
    }

    /// The journal behind it.
    pub fn journal(&self) -> &MemoryJournal {
        &self.journal
    }

    async fn room(&self) -> Result<(), JournalError> {
        while self.is_full.load(Ordering::SeqCst) {
            if !self.hangs {
                return Err(JournalError::Failed("the disk is full".to_owned()));
            }
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
        Ok(())
    }
}

impl Journal for FullJournal {
    async fn append(&self, id: &str, at: Time, state: &State, message: &str) -> Result<(), JournalError> {
        self.room().await?;
        self.journal.append(id, at, state, message).await
    }

    async fn note(&self, id: &str, at: Time, phase: &str, message: &str) -> Result<(), JournalError> {
        self.room().await?;
        self.journal.note(id, at, phase, message).await
    }

    fn may_go_back_unrecorded(&self) -> bool {
        !self.may_be_followed.load(Ordering::SeqCst)
    }

    async fn state(&self, id: &str) -> Result<Option<State>, JournalError> {
        self.journal.state(id).await
    }

    async fn open(&self) -> Result<Vec<Unfinished>, JournalError> {
        self.journal.open().await
    }
}
