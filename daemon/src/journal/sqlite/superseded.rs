//! Writes the end of a superseded deployment.

use rusqlite::{OptionalExtension, Transaction};

use super::super::Superseded;
use super::{insert, json};

/// Writes the record if the deployment's state has not changed. Otherwise the deployment stays open and blocks the next one.
pub(super) fn write(superseded: &Superseded, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let Superseded { id, at, before, after, message } = superseded;
    let state: Option<String> = transaction
        .query_row(
            "SELECT state FROM records WHERE deployment = ?1 AND state IS NOT NULL ORDER BY seq DESC LIMIT 1",
            [id],
            |row| row.get(0),
        )
        .optional()?;
    if state.as_ref() == Some(&json(before)) {
        insert(transaction, id, *at, after, message)?;
    }
    Ok(())
}
