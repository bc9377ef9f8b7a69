//! Parses rows of the journal.

use cutover_core::deployment::{Outcome, Time};
use cutover_engine::journal::Deployment;
use cutover_engine::policy::Policy;
use rusqlite::Row;

use super::{Entry, JournalError};

/// The stored texts, the time of the start, the time of the last record, and the outcome.
pub(super) type Raw = (Box<[String; 9]>, Time, Time, Option<String>);

pub(super) fn raw_entry(row: &Row<'_>) -> rusqlite::Result<Raw> {
    let texts = [
        row.get(0)?,
        row.get(1)?,
        row.get(2)?,
        row.get(3)?,
        row.get(4)?,
        row.get(5)?,
        row.get(6)?,
        row.get(7)?,
        row.get(8)?,
    ];
    Ok((Box::new(texts), time(row, 9)?, time(row, 10)?, row.get(11)?))
}

pub(super) fn parse_entry((texts, started, updated, word): Raw) -> Result<Entry, JournalError> {
    let [id, version, previous, asked_by, plan, policy, state, message, reason] = *texts;
    let unreadable = |error: serde_json::Error| JournalError::Unreadable {
        deployment: id.clone(),
        why: error.to_string(),
    };
    let plan = serde_json::from_str(&plan).map_err(unreadable)?;
    let policy = serde_json::from_str(&policy).and_then(Policy::from_journal).map_err(unreadable)?;
    let state = serde_json::from_str(&state).map_err(unreadable)?;
    Ok(Entry {
        deployment: Deployment { id, version, previous, asked_by, reason, started, plan, policy },
        state,
        outcome: word.and_then(|word| outcome(&word)),
        message,
        updated,
    })
}

pub(super) fn outcome(word: &str) -> Option<Outcome> {
    Outcome::ALL.into_iter().find(|outcome| outcome.as_str() == word)
}

pub(super) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Time> {
    Ok(Time(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0)))
}
