//! The journal's file: recognised by its application id and version, and never read when it is something else.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

use super::{JournalError, draft};

/// "Cutv"
pub(super) const APPLICATION_ID: i32 = 0x4375_7476;
pub(super) const VERSION: i32 = 2;
/// Bytes of the header of a database.
const HEADER: usize = 100;
/// What it begins with.
const MAGIC: &[u8] = b"SQLite format 3\0";

pub(super) const TABLES: &str = "
    CREATE TABLE deployments (
        id        TEXT PRIMARY KEY,
        grp       TEXT NOT NULL,
        version   TEXT NOT NULL,
        previous  TEXT NOT NULL,
        asked_by  TEXT NOT NULL,
        started   INTEGER NOT NULL,
        plan      TEXT NOT NULL,
        config    TEXT NOT NULL,
        outcome   TEXT,
        closed    INTEGER NOT NULL DEFAULT 0
    );
    CREATE UNIQUE INDEX one_open ON deployments (grp) WHERE closed = 0;
    CREATE INDEX by_group ON deployments (grp);
    CREATE TABLE records (
        seq        INTEGER PRIMARY KEY AUTOINCREMENT,
        deployment TEXT NOT NULL REFERENCES deployments (id),
        at         INTEGER NOT NULL,
        phase      TEXT NOT NULL,
        message    TEXT NOT NULL,
        state      TEXT,
        outcome    TEXT
    );
    CREATE INDEX by_deployment ON records (deployment, seq);
    CREATE TABLE commands (
        deployment TEXT NOT NULL REFERENCES deployments (id),
        name       TEXT NOT NULL,
        pid        INTEGER NOT NULL,
        birth      TEXT NOT NULL
    );
";

/// A deployment with the last state and the last message of its records.
pub(super) const SELECT_ENTRY: &str = "
    SELECT d.id, d.version, d.previous, d.asked_by, d.plan, d.config, s.state, m.message, d.started, m.at, d.outcome
    FROM deployments d
    JOIN records s ON s.seq = (SELECT max(seq) FROM records WHERE deployment = d.id AND state IS NOT NULL)
    JOIN records m ON m.seq = (SELECT max(seq) FROM records WHERE deployment = d.id)
";

/// The last version that was started in slot ?2 of group ?1, and whether it is gone: taken back, or stopped when a later
/// deployment out of that slot was over.
pub(super) const SELECT_VERSION: &str = "
    SELECT d.version,
           coalesce(d.outcome IN ('failed', 'rolled_back'), 0) OR EXISTS (
               SELECT 1 FROM deployments l JOIN records r ON r.deployment = l.id
               WHERE l.grp = ?1 AND l.rowid > d.rowid AND json_valid(l.plan) AND json_extract(l.plan, '$.from') = ?2
                 AND l.closed = 1 AND r.phase = 'decommissioning'
           )
    FROM deployments d
    WHERE d.grp = ?1 AND json_valid(d.plan) AND json_extract(d.plan, '$.to') = ?2
      AND EXISTS (SELECT 1 FROM records WHERE deployment = d.id AND phase IN ('provisioning', 'probing'))
    ORDER BY d.rowid DESC LIMIT 1
";

/// Closed deployments of group ?1 before its last ?2 ones, but for those on which the answer of [`SELECT_VERSION`] rests: the
/// last one that was started in a slot, and those that have stopped a slot since.
pub(super) const SELECT_OLD: &str = "
    WITH d AS (
        SELECT rowid AS number, id, closed,
               iif(json_valid(plan), json_extract(plan, '$.from'), '') AS source,
               iif(json_valid(plan), json_extract(plan, '$.to'), '') AS target,
               EXISTS (SELECT 1 FROM records r WHERE r.deployment = id
                       AND r.phase IN ('provisioning', 'probing')) AS started,
               EXISTS (SELECT 1 FROM records r WHERE r.deployment = id AND r.phase = 'decommissioning') AS stopped
        FROM deployments WHERE grp = ?1
    ), last AS (SELECT target, max(number) AS number FROM d WHERE started GROUP BY target)
    SELECT id FROM d
    WHERE closed = 1
      AND number <= (SELECT number FROM d WHERE closed = 1 ORDER BY number DESC LIMIT 1 OFFSET ?2)
      AND NOT EXISTS (SELECT 1 FROM last WHERE last.number = d.number)
      AND (NOT stopped
           OR EXISTS (SELECT 1 FROM last WHERE last.target = d.source AND last.number > d.number)
           OR NOT EXISTS (SELECT 1 FROM last WHERE last.target = d.source))
";

/// Opens the journal, or makes it if there is none.
pub(super) fn open(path: &Path) -> Result<Connection, JournalError> {
    let unrecognised = |what: String| JournalError::Unrecognised { path: path.to_owned(), what };
    match fs::metadata(path) {
        Ok(file) if file.len() == 0 => return Err(damaged(path, "it is empty")),
        Ok(_) if is_cut_off(path) => return Err(damaged(path, "it is cut off")),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound && fs::symlink_metadata(path).is_ok() => {
            return Err(unrecognised("is a link to a file that is not there".to_owned()));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => draft::make(path)?,
        Err(error) => return Err(unrecognised(format!("cannot be opened: {error}"))),
    }
    let connection = Connection::open(path).map_err(|source| failed(path, source))?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(|source| failed(path, source))?;
    // Read before anything is set: a file that is damaged is left as it is.
    recognise(&connection, path)?;
    for (name, value) in [("journal_mode", "WAL"), ("synchronous", "FULL"), ("foreign_keys", "ON")] {
        connection.pragma_update(None, name, value).map_err(|source| failed(path, source))?;
    }
    Ok(connection)
}

/// Whether the file is shorter than it says. SQLite fills the last page up with zeros, and takes a file of one byte for a new
/// database. While there is a write-ahead log, the missing pages may be in it.
fn is_cut_off(path: &Path) -> bool {
    let Ok(mut file) = File::open(path) else { return false };
    let mut header = [0; HEADER];
    if file.read_exact(&mut header).is_err() {
        return true;
    }
    if !header.starts_with(MAGIC) {
        return false;
    }
    // "Database Header Format" of SQLite: the size of a page, where 1 stands for 65536, and their number.
    let page = header.get(16..18).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_be_bytes);
    let page = if page == 1 { 65536 } else { u64::from(page) };
    let pages = header.get(28..32).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes);
    let has_log = fs::metadata(draft::beside(path, "-wal")).is_ok_and(|log| log.len() > 0);
    !has_log && file.metadata().is_ok_and(|file| file.len() < page * u64::from(pages))
}

fn recognise(connection: &Connection, path: &Path) -> Result<(), JournalError> {
    let unrecognised = |what: String| JournalError::Unrecognised { path: path.to_owned(), what };
    let read = |name: &str| {
        let value = connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
        value.map_err(|source| failed(path, source))
    };
    match (read("application_id")?, read("user_version")?) {
        (APPLICATION_ID, VERSION) => {
            let sound: rusqlite::Result<String> =
                connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
            match sound.map_err(|source| failed(path, source))?.as_str() {
                "ok" => Ok(()),
                what => Err(damaged(path, what)),
            }
        }
        (APPLICATION_ID, other) => {
            let next = if other < VERSION {
                "let the daemon that wrote it end its deployments, then move the file away"
            } else {
                "start the daemon that wrote it, or a newer one"
            };
            Err(unrecognised(format!(
                "has format version {other}, this daemon reads version {VERSION}: {next}"
            )))
        }
        _ => Err(unrecognised("is a database, but not a journal of cutover".to_owned())),
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
        "is damaged: {why}; move it away, with the files beside it that have its name and end with -wal and -shm; then put a \
         backup in its place, or begin anew without one"
    );
    JournalError::Unrecognised { path: path.to_owned(), what }
}
