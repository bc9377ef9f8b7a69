//! The journal's file: recognised by its application id and version, and never read when it is something else.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

use super::schema::{APPLICATION_ID, FIRST};
use super::upgrade::{VERSION, upgrade};
use super::{JournalError, draft};

/// Length in bytes of the header of a database.
const HEADER: usize = 100;
/// The first bytes of a database.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// Opens the journal, or creates it if there is none.
pub(super) fn open(path: &Path) -> Result<Connection, JournalError> {
    let unrecognised = |what: String| JournalError::Unrecognised { path: path.to_owned(), what };
    match fs::metadata(path) {
        Ok(file) if file.len() == 0 => return Err(damaged(path, "it is empty")),
        Ok(_) if is_cut_off(path) => return Err(damaged(path, "it is truncated")),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound && fs::symlink_metadata(path).is_ok() => {
            return Err(unrecognised("is a symbolic link to a missing file".to_owned()));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => draft::make(path)?,
        Err(error) => return Err(unrecognised(format!("cannot be opened: {error}"))),
    }
    let mut connection = Connection::open(path).map_err(|source| failed(path, source))?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(|source| failed(path, source))?;
    // This comes before any setting, so a damaged file stays unchanged.
    let format = recognise(&connection, path)?;
    for (name, value) in [("journal_mode", "WAL"), ("synchronous", "FULL"), ("foreign_keys", "ON")] {
        connection.pragma_update(None, name, value).map_err(|source| failed(path, source))?;
    }
    upgrade(&mut connection, format).map_err(|source| failed(path, source))?;
    Ok(connection)
}

/// Whether the file is shorter than its header says. SQLite would fill the last page with zeros, and treat a file of one byte
/// as a new database. If there is a write-ahead log, the missing pages may be in it.
fn is_cut_off(path: &Path) -> bool {
    let Ok(mut file) = File::open(path) else { return false };
    let mut header = [0; HEADER];
    if file.read_exact(&mut header).is_err() {
        return true;
    }
    if !header.starts_with(MAGIC) {
        return false;
    }
    // "Database Header Format" of SQLite: the size of a page, where 1 means 65536, and the number of pages.
    let page = header.get(16..18).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_be_bytes);
    let page = if page == 1 { 65536 } else { u64::from(page) };
    let pages = header.get(28..32).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes);
    let has_log = fs::metadata(draft::beside(path, "-wal")).is_ok_and(|log| log.len() > 0);
    !has_log && file.metadata().is_ok_and(|file| file.len() < page * u64::from(pages))
}

/// Returns the format of a journal that this daemon can read.
fn recognise(connection: &Connection, path: &Path) -> Result<i32, JournalError> {
    let unrecognised = |what: String| JournalError::Unrecognised { path: path.to_owned(), what };
    let read = |name: &str| {
        let value = connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
        value.map_err(|source| failed(path, source))
    };
    match (read("application_id")?, read("user_version")?) {
        (APPLICATION_ID, format @ FIRST..=VERSION) => {
            let sound: rusqlite::Result<String> =
                connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
            match sound.map_err(|source| failed(path, source))?.as_str() {
                "ok" => Ok(format),
                what => Err(damaged(path, what)),
            }
        }
        (APPLICATION_ID, other) => {
            let next = if other < VERSION {
                "let the daemon that wrote it finish its deployments, then move the file away"
            } else {
                "start the daemon that wrote it, or a newer one"
            };
            Err(unrecognised(format!(
                "has format version {other}, this daemon reads version {VERSION}: {next}"
            )))
        }
        _ => Err(unrecognised("is a database, but not a journal of Cutover".to_owned())),
    }
}

fn failed(path: &Path, source: rusqlite::Error) -> JournalError {
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => damaged(path, &source.to_string()),
        _ => JournalError::Database { path: path.to_owned(), source },
    }
}

fn damaged(path: &Path, why: &str) -> JournalError {
    let what = format!(
        "is damaged: {why}; move it away together with its -wal and -shm files; then restore a backup, or start with an \
         empty journal"
    );
    JournalError::Unrecognised { path: path.to_owned(), what }
}
