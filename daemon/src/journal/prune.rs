//! What the journal forgets: a group's closed deployments but for the last ones, and those that say what runs in a slot.

use rusqlite::params;

use super::{JournalError, SqliteJournal};

/// Closed deployments that are kept of each group.
pub const KEPT: u32 = 50;

impl SqliteJournal {
    /// Forgets a group's old deployments, so many kept; the answer is their ids.
    pub async fn prune(&self, group: &str, kept: u32) -> Result<Vec<String>, JournalError> {
        let group = group.to_owned();
        self.blocking(move |connection| {
            let transaction = connection.transaction()?;
            let ids = {
                let mut select = transaction.prepare(super::schema::SELECT_OLD)?;
                let rows = select.query_map(params![group, kept], |row| row.get(0))?;
                rows.collect::<Result<Vec<String>, _>>()?
            };
            for id in &ids {
                transaction.execute("DELETE FROM records WHERE deployment = ?1", [id])?;
                transaction.execute("DELETE FROM commands WHERE deployment = ?1", [id])?;
                transaction.execute("DELETE FROM deployments WHERE id = ?1", [id])?;
            }
            transaction.commit()?;
            Ok(ids)
        })
        .await
    }
}
