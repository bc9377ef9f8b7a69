//! The table of what was done by hand, beside switches. An act on all groups has an empty name, which no group has.

use rusqlite::{Connection, params};

use super::super::{Act, KEPT_SWITCHES};
use super::{JournalError, SqliteJournal, milliseconds, row};

impl SqliteJournal {
    /// Records an act.
    pub async fn acted(&self, act: Act) -> Result<(), JournalError> {
        self.blocking(move |connection| {
            let transaction = connection.transaction()?;
            let Act { group, at, what, reason, asked_by } = act;
            let group = group.unwrap_or_default();
            transaction.execute(
                "INSERT INTO acts (grp, at, what, reason, asked_by) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![group, milliseconds(at), what, reason, asked_by],
            )?;
            transaction.execute(
                "DELETE FROM acts WHERE grp = ?1 AND seq NOT IN
                     (SELECT seq FROM acts WHERE grp = ?1 ORDER BY seq DESC LIMIT ?2)",
                params![group, KEPT_SWITCHES],
            )?;
            transaction.commit()
        })
        .await
    }

    /// Acts on one group, those on all groups included, or all acts. The newest come first.
    pub async fn acts(&self, group: Option<&str>, limit: u32) -> Result<Vec<Act>, JournalError> {
        let group = group.map(str::to_owned);
        self.blocking(move |connection| read(connection, group.as_deref(), limit)).await
    }
}

fn read(connection: &Connection, group: Option<&str>, limit: u32) -> rusqlite::Result<Vec<Act>> {
    let mut select = connection.prepare(
        "SELECT grp, at, what, reason, asked_by FROM acts
         WHERE ?1 IS NULL OR grp = ?1 OR grp = '' ORDER BY seq DESC LIMIT ?2",
    )?;
    let rows = select.query_map(params![group, limit], |found| {
        Ok(Act {
            group: Some(found.get::<_, String>(0)?).filter(|group| !group.is_empty()),
            at: row::time(found, 1)?,
            what: found.get(2)?,
            reason: found.get(3)?,
            asked_by: found.get(4)?,
        })
    })?;
    rows.collect()
}
