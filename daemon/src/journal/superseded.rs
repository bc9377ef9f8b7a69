//! The end of a warm deployment that another one takes over from.

use cutover_core::deployment::{Event, Phase, State, Time};
use cutover_engine::driver;
use rusqlite::{OptionalExtension, Transaction};

use super::{Entry, insert, json};

/// Its last record.
#[derive(Clone, Debug)]
pub struct Superseded {
    id: String,
    at: Time,
    before: State,
    after: State,
    message: String,
}

impl Superseded {
    /// `None`: it is not warm, so nothing may take over.
    pub fn of(entry: &Entry, at: Time) -> Option<Self> {
        let deployment = &entry.deployment;
        let before = entry.state.clone();
        if !matches!(before.phase, Phase::Warm { .. }) {
            return None;
        }
        let after = deployment.plan.step(&before, Event::Supersede, at).ok()?;
        let message = driver::superseded_message(deployment, &after);
        Some(Self { id: deployment.id.clone(), at, before, after, message })
    }

    /// Writes it if the deployment is still where it was. If not it stays open, and is in the way of the next one.
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
