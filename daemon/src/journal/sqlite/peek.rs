//! Reads the journal of a daemon that is away, and writes nothing.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::{Entry, JournalError, row, schema, unreadable};

/// Deployments with a command that is not known to have ended.
const WITH_COMMANDS: &str =
    "SELECT DISTINCT d.id FROM commands c JOIN deployments d ON d.id = c.deployment WHERE d.grp = ?1";

/// The open deployment of a group, and the deployments whose commands may still run. The caller holds the lock of the folder. A
/// daemon that has never run has no journal.
pub fn peek(folder: &Path, group: &str) -> Result<(Option<Entry>, Vec<String>), JournalError> {
    let path = folder.join("journal.sqlite");
    if !path.exists() {
        return Ok((None, Vec::new()));
    }
    let read = || {
        let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let sql = format!("{} WHERE closed = 0 AND grp = ?1", schema::SELECT_ENTRY);
        let mut select = connection.prepare(&sql)?;
        let open = select.query_map([group], row::raw_entry)?.collect::<Result<Vec<_>, _>>()?;
        let mut select = connection.prepare(WITH_COMMANDS)?;
        let busy = select.query_map([group], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
        Ok((open, busy))
    };
    let (open, busy) = read().map_err(|source| JournalError::Database { path: path.clone(), source })?;
    Ok((unreadable::readable(open).pop(), busy))
}
