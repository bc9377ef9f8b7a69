//! The table of switches by hand.

use rusqlite::{Connection, params};

use super::super::{KEPT_SWITCHES, Switch};
use super::{JournalError, SqliteJournal, milliseconds, row};

impl SqliteJournal {
    /// Records a switch by hand.
    pub async fn switched(&self, switch: Switch) -> Result<(), JournalError> {
        self.blocking(move |connection| {
            let transaction = connection.transaction()?;
            let Switch { group, at, from, to, reason, asked_by } = switch;
            transaction.execute(
                "INSERT INTO switches (grp, at, source, target, reason, asked_by) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![group, milliseconds(at), from, to, reason, asked_by],
            )?;
            transaction.execute(
                "DELETE FROM switches WHERE grp = ?1 AND seq NOT IN
                     (SELECT seq FROM switches WHERE grp = ?1 ORDER BY seq DESC LIMIT ?2)",
                params![group, KEPT_SWITCHES],
            )?;
            transaction.commit()
        })
        .await
    }

    /// Switches by hand of one group or of all, the newest first.
    pub async fn switches(&self, group: Option<&str>, limit: u32) -> Result<Vec<Switch>, JournalError> {
        let group = group.map(str::to_owned);
        self.blocking(move |connection| read(connection, group.as_deref(), limit)).await
    }
}

fn read(connection: &Connection, group: Option<&str>, limit: u32) -> rusqlite::Result<Vec<Switch>> {
    let mut select = connection.prepare(
        "SELECT grp, at, source, target, reason, asked_by FROM switches
         WHERE ?1 IS NULL OR grp = ?1 ORDER BY seq DESC LIMIT ?2",
    )?;
    let rows = select.query_map(params![group, limit], |row| {
        Ok(Switch {
            group: row.get(0)?,
            at: row::time(row, 1)?,
            from: row.get(2)?,
            to: row.get(3)?,
            reason: row.get(4)?,
            asked_by: row.get(5)?,
        })
    })?;
    rows.collect()
}
