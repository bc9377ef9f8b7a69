//! The end of a deployment that another one supersedes.

use cutover_core::deployment::{Event, State, Time};
use cutover_engine::driver;
use rusqlite::{OptionalExtension, Transaction};

use super::{Entry, insert, json};

/// The last record of a superseded deployment.
#[derive(Clone, Debug)]
pub struct Superseded {
    id: String,
    at: Time,
    before: State,
    after: State,
    message: String,
}

impl Superseded {
    /// The last record of a deployment that only watches or stops a slot. `None` if it does other work.
    pub fn of(entry: &Entry, at: Time) -> Option<Self> {
        let deployment = &entry.deployment;
        let before = entry.state.clone();
        let after = deployment.plan.step(&before, Event::TakeOver, at).ok()?;
        let message = driver::superseded_message(deployment, &after);
        Some(Self { id: deployment.id.clone(), at, before, after, message })
    }

    /// Writes the record if the deployment's state has not changed. Otherwise the deployment stays open and blocks the next one.
    pub(super) fn write(&self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let state: Option<String> = transaction
            .query_row(
                "SELECT state FROM records WHERE deployment = ?1 AND state IS NOT NULL ORDER BY seq DESC LIMIT 1",
                [&self.id],
                |row| row.get(0),
            )
            .optional()?;
        if state.as_ref() == Some(&json(&self.before)) {
            insert(transaction, &self.id, self.at, &self.after, &self.message)?;
        }
        Ok(())
    }
}
