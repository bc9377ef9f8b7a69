//! Creates a journal under another name and then renames it.
//!
//! If the daemon is killed during that, it leaves a draft, which the next daemon replaces. So a file with the journal's name was
//! always complete, and any defect in it is damage.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::schema::{APPLICATION_ID, FIRST, TABLES};
use super::{JournalError, upgrade};

/// Endings of the files that SQLite reads into a database when it opens it.
const COMPANIONS: [&str; 2] = ["-wal", "-journal"];
/// Endings of the files of an earlier draft.
const REMAINS: [&str; 4] = ["", "-wal", "-shm", "-journal"];

/// Creates the journal. Fails if files of a missing journal exist.
pub(super) fn make(path: &Path) -> Result<(), JournalError> {
    let unrecognised = |what: String| JournalError::Unrecognised { path: path.to_owned(), what };
    if let Some(left) = left_behind(path) {
        return Err(unrecognised(format!(
            "is missing, but \"{}\" exists and holds records of it: restore the journal, or move that file \
             away to start with an empty one",
            left.display()
        )));
    }
    let failed = |error: io::Error| {
        unrecognised(format!(
            "cannot be created: {error}; daemon.state must be a folder that the daemon's user can write"
        ))
    };
    let draft = beside(path, ".new");
    for ending in REMAINS {
        match fs::remove_file(beside(&draft, ending)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    // SQLite would create it readable for everybody, and its other files with the same mode. It holds the variables of commands.
    let file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&draft).map_err(failed)?;
    write(&draft).map_err(|source| JournalError::Database { path: draft.clone(), source })?;
    let put_in_place = || -> io::Result<()> {
        file.sync_all()?;
        fs::rename(&draft, path)?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    put_in_place().map_err(failed)
}

/// A file of SQLite that is not empty. SQLite would read it into a new journal or delete it.
fn left_behind(path: &Path) -> Option<PathBuf> {
    let companions = COMPANIONS.into_iter().map(|ending| beside(path, ending));
    companions.into_iter().find(|companion| fs::metadata(companion).is_ok_and(|file| file.len() > 0))
}

fn write(draft: &Path) -> rusqlite::Result<()> {
    let mut connection = Connection::open(draft)?;
    // A draft is never repaired, so it needs no journal file of SQLite.
    connection.pragma_update(None, "journal_mode", "MEMORY")?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    upgrade::steps(&transaction, FIRST)?;
    transaction.commit()?;
    connection.close().map_err(|(_, error)| error)
}

/// The path of a file of SQLite that belongs to the database `path`.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}
