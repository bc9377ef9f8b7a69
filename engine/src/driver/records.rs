//! Writes the records of one deployment.
//!
//! A record is on disk before its work begins, and a journal that cannot be written is retried until it can. There is one
//! exception: traffic that goes back does not wait for a disk. Its records are written as soon as the journal takes them, before
//! anything is reverted or stopped. It waits all the same if another process may drive the deployment by now.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cutover_core::deployment::{Phase, RollbackStep, State, Time};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::journal::{Journal, JournalError};
use crate::metrics;

/// Pause between tries to write the journal.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// How long a record may delay traffic that goes back.
const HASTE: Duration = Duration::from_secs(1);
/// A write that takes longer counts as failing. It is waited for all the same.
const HANGS: Duration = Duration::from_secs(5);

/// The records of a deployment.
#[derive(Debug)]
pub(super) struct Records<J> {
    journal: J,
    deployment: String,
    /// Records that are not on disk yet, the oldest first.
    unwritten: Mutex<Vec<Record>>,
    is_failing: AtomicBool,
}

#[derive(Debug)]
struct Record {
    at: Time,
    state: State,
    message: String,
    /// The write that is under way. It goes on when nobody waits for it, so it is not begun again.
    writing: Option<JoinHandle<Result<(), JournalError>>>,
}

impl<J: Journal> Records<J> {
    pub(super) fn new(journal: J, deployment: String) -> Self {
        Self { journal, deployment, unwritten: Mutex::default(), is_failing: AtomicBool::default() }
    }

    /// Whether the last record could not be written.
    pub(super) fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Relaxed)
    }

    /// Writes a record after those before it. A caller that stops waiting leaves it to the next write. Returns when it is on
    /// disk, or when it must not be waited for. Fails only if the journal is closed.
    pub(super) async fn write(&self, at: Time, state: &State, message: &str) -> Result<(), JournalError> {
        let mut unwritten = self.unwritten.lock().await;
        let mut is_failing = !unwritten.is_empty();
        let message = message.to_owned();
        unwritten.push(Record { at, state: state.clone(), message, writing: None });
        while let Some(record) = unwritten.first_mut() {
            if record.writing.is_none() {
                record.writing = Some(self.begin(record));
            }
            let Some(writing) = &mut record.writing else { continue };
            let limit = if goes_back(&state.phase) { HASTE } else { HANGS };
            let written = tokio::time::timeout(limit, writing).await;
            if written.is_ok() {
                record.writing = None;
            }
            match written {
                Ok(Ok(Ok(()))) => {
                    unwritten.remove(0);
                    continue;
                }
                Ok(Ok(Err(closed @ JournalError::Closed(_)))) => return Err(closed),
                Ok(Ok(Err(error))) => self.fails(&mut is_failing, &error.to_string()),
                Ok(Err(error)) => self.fails(&mut is_failing, &error.to_string()),
                Err(_) => self.fails(&mut is_failing, "it does not answer in time"),
            }
            if goes_back(&state.phase) && self.journal.may_go_back_unrecorded() {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        if is_failing {
            tracing::info!(deployment = self.deployment, "the journal can be written again");
            metrics::journal_fails(false);
            self.is_failing.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    fn begin(&self, record: &Record) -> JoinHandle<Result<(), JournalError>> {
        let (journal, id) = (self.journal.clone(), self.deployment.clone());
        let Record { at, state, message, .. } = record;
        let (at, state, message) = (*at, state.clone(), message.clone());
        tokio::spawn(async move { journal.append(&id, at, &state, &message).await })
    }

    /// Says so once, and once again after the journal could be written in between.
    fn fails(&self, is_failing: &mut bool, why: &str) {
        if !std::mem::replace(is_failing, true) {
            tracing::error!(deployment = self.deployment, why, "failed to write the journal; retrying");
            metrics::journal_fails(true);
            self.is_failing.store(true, Ordering::Relaxed);
        }
    }
}

/// Whether the work of a phase moves traffic back, and changes nothing else.
fn goes_back(phase: &Phase) -> bool {
    matches!(phase, Phase::RollingBack { step: RollbackStep::SwitchBack | RollbackStep::Drain { .. }, .. })
}
