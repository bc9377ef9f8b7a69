//! Deployments that this version cannot read. They must not block the others.

use cutover_core::deployment::Time;

use super::super::unreadable_state;
use super::{Entry, JournalError, SqliteJournal, row};

impl SqliteJournal {
    /// Closes the open deployments that cannot be read, as stuck. Returns their ids and the reasons.
    pub async fn close_unreadable(&self, now: Time) -> Result<Vec<(String, String)>, JournalError> {
        let mut closed = Vec::new();
        for raw in self.open_rows().await? {
            let Err(JournalError::Unreadable { deployment, why }) = row::parse_entry(raw) else { continue };
            let (state, message) = unreadable_state(&why);
            self.append(&deployment, now, &state, &message).await?;
            closed.push((deployment, why));
        }
        Ok(closed)
    }
}

/// The readable entries. Logs the others.
pub(super) fn readable(rows: Vec<row::Raw>) -> Vec<Entry> {
    let entries = rows.into_iter().map(row::parse_entry);
    let said = entries.inspect(|entry| {
        if let Err(error) = entry {
            tracing::warn!(%error, "a deployment cannot be read and is left out");
        }
    });
    said.flatten().collect()
}
