//! Deletes old deployments. It keeps the last ones of each group, and those that show which version is in a slot.

use rusqlite::params;

use super::{JournalError, SqliteJournal};

impl SqliteJournal {
    /// Deletes a group's closed deployments except the last `kept`. Returns the ids of the deleted ones.
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
