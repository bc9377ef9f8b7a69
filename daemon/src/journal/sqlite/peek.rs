//! Reads the journal of a daemon that is away, and writes nothing.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::super::Freeze;
use super::{Entry, JournalError, freezes, row, schema, unreadable};

/// Deployments with a command that is not known to have ended.
const WITH_COMMANDS: &str =
    "SELECT DISTINCT d.id FROM commands c JOIN deployments d ON d.id = c.deployment WHERE d.grp = ?1";

/// What a journal says about a group.
#[derive(Debug, Default)]
pub struct Peeked {
    /// Its open deployment.
    pub open: Option<Entry>,
    /// Its deployments whose commands may still run.
    pub with_commands: Vec<String>,
    /// Freezes of all groups, those that have run out included.
    pub freezes: Vec<Freeze>,
}

/// Reads a journal. The caller holds the lock of the folder. A daemon that has never run has no journal, and one that has not run
/// since an upgrade has one of the format before.
pub fn peek(folder: &Path, group: &str) -> Result<Peeked, JournalError> {
    let path = folder.join("journal.sqlite");
    if !path.exists() {
        return Ok(Peeked::default());
    }
    let read = || {
        let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let format: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let has_freezes = format > schema::FIRST;
        let entry = match has_freezes {
            true => schema::SELECT_ENTRY.to_owned(),
            // Reasons came with freezes.
            false => schema::SELECT_ENTRY.replace("d.reason", "''"),
        };
        let mut select = connection.prepare(&format!("{entry} WHERE closed = 0 AND grp = ?1"))?;
        let open = select.query_map([group], row::raw_entry)?.collect::<Result<Vec<_>, _>>()?;
        let mut select = connection.prepare(WITH_COMMANDS)?;
        let with_commands = select.query_map([group], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let freezes = if has_freezes { freezes::read(&connection)? } else { Vec::new() };
        Ok(Peeked { open: unreadable::readable(open).pop(), with_commands, freezes })
    };
    read().map_err(|source| JournalError::Database { path: path.clone(), source })
}
