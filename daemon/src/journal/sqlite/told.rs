//! The table of what hooks were told last.

use rusqlite::{OptionalExtension, params};

use super::super::Told;
use super::{JournalError, SqliteJournal, json};

impl SqliteJournal {
    /// What the hook of a group was told last. `None`: nothing, or something that this version cannot read.
    pub async fn told(&self, group: &str) -> Result<Option<Told>, JournalError> {
        let group = group.to_owned();
        let text = self
            .blocking(move |connection| {
                let mut select = connection.prepare_cached("SELECT told FROM told WHERE grp = ?1")?;
                select.query_row([group], |row| row.get::<_, String>(0)).optional()
            })
            .await?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Records what the hook of a group was told.
    pub async fn tell(&self, told: Told) -> Result<(), JournalError> {
        self.blocking(move |connection| {
            connection.execute(
                "INSERT INTO told (grp, told) VALUES (?1, ?2)
                 ON CONFLICT (grp) DO UPDATE SET told = excluded.told",
                params![told.group, json(&told)],
            )?;
            Ok(())
        })
        .await
    }
}
