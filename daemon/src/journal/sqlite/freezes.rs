//! The table of freezes. The one of all groups has an empty name, which no group has.

use rusqlite::{Connection, params};

use super::super::Freeze;
use super::{JournalError, SqliteJournal, milliseconds, row};

impl SqliteJournal {
    /// Records a freeze, in place of the one that the group has.
    pub async fn freeze(&self, freeze: Freeze) -> Result<(), JournalError> {
        self.blocking(move |connection| {
            let Freeze { group, at, until, who, reason } = freeze;
            connection.execute(
                "INSERT OR REPLACE INTO freezes (grp, at, until, who, reason) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![group.unwrap_or_default(), milliseconds(at), until.map(milliseconds), who, reason],
            )?;
            Ok(())
        })
        .await
    }

    /// Removes the freeze of a group, or the one of all groups. Returns whether there was one.
    pub async fn unfreeze(&self, group: Option<&str>) -> Result<bool, JournalError> {
        let group = group.unwrap_or_default().to_owned();
        self.blocking(move |connection| {
            Ok(connection.execute("DELETE FROM freezes WHERE grp = ?1", [group])? > 0)
        })
        .await
    }

    /// All freezes, those that have run out included.
    pub async fn freezes(&self) -> Result<Vec<Freeze>, JournalError> {
        self.blocking(|connection| read(connection)).await
    }
}

pub(super) fn read(connection: &Connection) -> rusqlite::Result<Vec<Freeze>> {
    let mut select = connection.prepare("SELECT grp, at, until, who, reason FROM freezes ORDER BY grp")?;
    let rows = select.query_map([], |found| {
        let until = found.get::<_, Option<i64>>(2)?.map(|_| row::time(found, 2)).transpose()?;
        Ok(Freeze {
            group: Some(found.get::<_, String>(0)?).filter(|group| !group.is_empty()),
            at: row::time(found, 1)?,
            until,
            who: found.get(3)?,
            reason: found.get(4)?,
        })
    })?;
    rows.collect()
}
