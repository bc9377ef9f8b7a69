//! A journal in memory, and a journal that fails at a record.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cutover_core::deployment::{Outcome, State, Time};

use crate::journal::{Deployment, Journal, JournalError, Unfinished};

/// A journal in memory. Clones share it, and it survives the driver that writes it.
#[derive(Clone, Debug, Default)]
pub struct MemoryJournal(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    entries: Vec<Unfinished>,
    /// Phases and messages of all records and notes.
    records: Vec<(String, String)>,
    outcomes: Vec<Outcome>,
}

impl MemoryJournal {
    /// Writes a new deployment and its first state.
    pub fn begin(&self, deployment: Deployment, state: State) {
        self.kept().entries.push(Unfinished { deployment, state });
    }

    /// A deployment and its last state.
    pub fn entry(&self, id: &str) -> Option<Unfinished> {
        self.kept().entries.iter().find(|entry| entry.deployment.id == id).cloned()
    }

    /// Phases and messages of all records and notes.
    pub fn records(&self) -> Vec<(String, String)> {
        self.kept().records.clone()
    }

    /// The outcomes in the order in which they were new.
    pub fn outcomes(&self) -> Vec<Outcome> {
        self.kept().outcomes.clone()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal for MemoryJournal {
    async fn append(&self, id: &str, _: Time, state: &State, message: &str) -> Result<(), JournalError> {
        let mut kept = self.kept();
        let entry = kept.entries.iter_mut().find(|entry| entry.deployment.id == id);
        let entry = entry.ok_or_else(|| JournalError::Closed(format!("no deployment \"{id}\"")))?;
        let before = std::mem::replace(&mut entry.state, state.clone()).phase.outcome();
        kept.outcomes.extend(state.phase.outcome().filter(|outcome| before != Some(*outcome)));
        kept.records.push((state.phase.name().to_owned(), message.to_owned()));
        Ok(())
    }

    async fn note(&self, _: &str, _: Time, phase: &str, message: &str) -> Result<(), JournalError> {
        self.kept().records.push((phase.to_owned(), message.to_owned()));
        Ok(())
    }

    async fn state(&self, id: &str) -> Result<Option<State>, JournalError> {
        let kept = self.kept();
        let entry = kept.entries.iter().find(|entry| entry.deployment.id == id);
        Ok(entry.map(|entry| entry.state.clone()))
    }

    async fn open(&self) -> Result<Vec<Unfinished>, JournalError> {
        Ok(self.kept().entries.iter().filter(|entry| !entry.state.phase.is_final()).cloned().collect())
    }
}

/// A journal that takes a number of records and then fails, as for a process that is killed there.
#[derive(Clone, Debug)]
pub struct Cut<J> {
    journal: J,
    left: Arc<AtomicI64>,
    written: bool,
}

impl<J> Cut<J> {
    /// Writes `records` records and loses the next one. Its work was done, but is not recorded.
    pub fn lose_after(journal: J, records: i64) -> Self {
        Self { journal, left: Arc::new(records.into()), written: false }
    }

    /// Stops right after `records` records. The next work is recorded, but has not begun.
    pub fn stop_after(journal: J, records: i64) -> Self {
        Self { journal, left: Arc::new(records.into()), written: true }
    }
}

impl<J: Journal> Journal for Cut<J> {
    async fn append(&self, id: &str, at: Time, state: &State, message: &str) -> Result<(), JournalError> {
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        let cut = || JournalError::Closed("cut off".to_owned());
        if !self.written && left <= 0 {
            return Err(cut());
        }
        self.journal.append(id, at, state, message).await?;
        if self.written && left <= 1 { Err(cut()) } else { Ok(()) }
    }

    async fn note(&self, id: &str, at: Time, phase: &str, message: &str) -> Result<(), JournalError> {
        self.journal.note(id, at, phase, message).await
    }

    async fn state(&self, id: &str) -> Result<Option<State>, JournalError> {
        self.journal.state(id).await
    }

    async fn open(&self) -> Result<Vec<Unfinished>, JournalError> {
        self.journal.open().await
    }
}
