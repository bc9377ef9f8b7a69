//! SQLite: an immediate transaction is its lock.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cutover_core::migration::{Reason, Record, Rows, Stage, Thing, Undo};
use rusqlite::{
    Connection, ErrorCode, InterruptHandle, OpenFlags, OptionalExtension, Row, TransactionBehavior, params,
};

use crate::error::DatabaseError;
use crate::request::{Apply, Check, Columns, Fields, Settle, TABLE, signed, with_before};
use crate::sql;
use crate::url::{Kind, Limits, Url};

mod holder;
mod measure;
#[cfg(test)]
mod tests;

use holder::holder;
use measure::measure;

const CREATE: &str = "CREATE TABLE IF NOT EXISTS cutover_migrations (
    number INTEGER PRIMARY KEY, position INTEGER NOT NULL, name TEXT NOT NULL, checksum TEXT NOT NULL,
    deployment TEXT NOT NULL, version TEXT NOT NULL, stage TEXT NOT NULL, applied_at TEXT NOT NULL, rows_then TEXT NOT NULL)";

const INSERT: &str = "INSERT INTO cutover_migrations
    (number, position, name, checksum, deployment, version, stage, applied_at, rows_then)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, strftime('%Y-%m-%dT%H:%M:%fZ', ?8 / 1000.0, 'unixepoch'), ?9)";

const SELECT: &str = "SELECT number, name, checksum, deployment, version, stage,
    CAST(round((julianday(applied_at) - 2440587.5) * 86400000) AS INTEGER), rows_then FROM cutover_migrations ORDER BY position";

/// A connection to a file.
pub(crate) struct Sqlite {
    connection: Arc<Mutex<Connection>>,
    interrupt: Arc<InterruptHandle>,
    /// Whether nobody waits for its work any more. An interrupt ends only the statement that runs, and not those after it.
    abandoned: Arc<AtomicBool>,
    path: PathBuf,
    limits: Limits,
}

/// Ends the work when nobody waits for it any more.
struct Interrupts(Option<(Arc<InterruptHandle>, Arc<AtomicBool>)>);

impl Drop for Interrupts {
    fn drop(&mut self) {
        if let Some((handle, abandoned)) = &self.0 {
            abandoned.store(true, Ordering::SeqCst);
            handle.interrupt();
        }
    }
}

impl Sqlite {
    pub(crate) async fn open(url: &Url, limits: Limits) -> Result<Self, DatabaseError> {
        let path = PathBuf::from(url.secret());
        let (file, shown) = (path.clone(), url.to_string());
        let opened = tokio::task::spawn_blocking(move || {
            // A file that is not there is not created: its path may be wrong.
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(file, flags)?;
            connection.busy_timeout(limits.lock)?;
            // As SQLite's page on ALTER TABLE has it: with foreign keys, DROP TABLE would delete rows of other tables.
            connection.pragma_update(None, "foreign_keys", false)?;
            Ok::<_, rusqlite::Error>(connection)
        });
        let connect = |why: String| DatabaseError::Connect { url: shown, why };
        let connection = match opened.await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(connect(error.to_string())),
            Err(error) => return Err(connect(error.to_string())),
        };
        let interrupt = Arc::new(connection.get_interrupt_handle());
        let (connection, abandoned) = (Arc::new(Mutex::new(connection)), Arc::default());
        Ok(Self { connection, interrupt, abandoned, path, limits })
    }

    /// There is no lock beyond a transaction. Each migration has one of its own, and looks again at the table in it.
    pub(crate) async fn lock(&mut self) -> Result<(), DatabaseError> {
        self.run(|connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute_batch(CREATE)?;
            transaction.commit()
        })
        .await
    }

    pub(crate) async fn records(&mut self) -> Result<Vec<Record>, DatabaseError> {
        let fields = self.run(|connection| fields(connection)).await?;
        fields.into_iter().map(Fields::record).collect()
    }

    pub(crate) async fn measure(&mut self, things: &BTreeSet<Thing>) -> Result<Rows, DatabaseError> {
        let things = things.clone();
        self.run(move |connection| measure(connection, &things)).await
    }

    pub(crate) async fn apply(&mut self, apply: Apply) -> Result<(), DatabaseError> {
        let up = &apply.migration.up;
        if up.marks.no_transaction {
            let abandoned = Arc::clone(&self.abandoned);
            return self
                .run(move |connection| {
                    still_wanted(&abandoned)?;
                    apply_alone(connection, &apply)
                })
                .await;
        }
        if let Some(found) = sql::own_transaction(Kind::Sqlite, &up.text) {
            return Err(DatabaseError::OwnTransaction(up.file.clone(), found));
        }
        let (file, abandoned) = (up.file.clone(), Arc::clone(&self.abandoned));
        let applied = self.run(move |connection| {
            match apply_whole(connection, &apply, Broken::None, &abandoned)? {
                // They may have been broken before, which only a second look at the whole file can tell.
                Applied::Broken => apply_whole(connection, &apply, Broken::AsBefore, &abandoned),
                applied => Ok(applied),
            }
        });
        match applied.await? {
            Applied::Whole => Ok(()),
            Applied::EndedEarly => Err(DatabaseError::OwnTransaction(file, "COMMIT".to_owned())),
            Applied::Broken => {
                let why = "FOREIGN KEY constraint failed: rows refer to others that are not there";
                Err(DatabaseError::Statement(why.to_owned()))
            }
        }
    }

    pub(crate) async fn revert(
        &mut self,
        undo: &Undo,
        check: Check<'_>,
    ) -> Result<Option<Reason>, DatabaseError> {
        let Some(down) = &undo.down else { return Ok(Some(Reason::NoDown(undo.record.shown()))) };
        if let Some(found) =
            sql::own_transaction(Kind::Sqlite, &down.text).filter(|_| !down.marks.no_transaction)
        {
            return Err(DatabaseError::OwnTransaction(down.file.clone(), found));
        }
        let (number, things, text) =
            (signed(undo.record.number), undo.drops.things.clone(), down.text.clone());
        let alone = down.marks.no_transaction;
        // The transaction stays open between the look and the drop.
        let now = self
            .run(move |connection| {
                connection.execute_batch("BEGIN IMMEDIATE")?;
                measure(connection, &things)
            })
            .await;
        let now = match now {
            Ok(now) => now,
            Err(error) => {
                self.roll_back().await;
                return Err(error);
            }
        };
        if let Some(reason) = check(&now) {
            self.roll_back().await;
            return Ok(Some(reason));
        }
        let abandoned = Arc::clone(&self.abandoned);
        let done = self
            .run(move |connection| {
                still_wanted(&abandoned)?;
                if alone {
                    let reverting = "UPDATE cutover_migrations SET stage = 'reverting' WHERE number = ?1";
                    connection.execute(reverting, [number])?;
                    connection.execute_batch("COMMIT")?;
                    connection.execute_batch(&text)?;
                    return delete(connection, number);
                }
                connection.execute_batch(&text)?;
                delete(connection, number)?;
                still_wanted(&abandoned)?;
                connection.execute_batch("COMMIT")
            })
            .await;
        if done.is_err() {
            self.roll_back().await;
        }
        done.map(|()| None)
    }

    pub(crate) async fn settle(&mut self, number: u64, to: Settle) -> Result<(), DatabaseError> {
        let number = signed(number);
        self.run(move |connection| match to {
            Settle::Applied => {
                let applied = "UPDATE cutover_migrations SET stage = 'applied' WHERE number = ?1";
                connection.execute(applied, [number]).map(drop)
            }
            Settle::Gone => delete(connection, number),
        })
        .await
    }

    async fn roll_back(&self) {
        let ends = self.run(|connection| match connection.is_autocommit() {
            true => Ok(()),
            false => connection.execute_batch("ROLLBACK"),
        });
        if let Err(error) = ends.await {
            tracing::warn!(%error, "failed to roll back; the transaction ends with the connection");
        }
    }

    /// Works on the connection in a thread of its own. Dropping the future interrupts the statement.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let connection = Arc::clone(&self.connection);
        let mut interrupts = Interrupts(Some((Arc::clone(&self.interrupt), Arc::clone(&self.abandoned))));
        let mut doing = tokio::task::spawn_blocking(move || {
            work(&mut connection.lock().unwrap_or_else(PoisonError::into_inner))
        });
        let limit = self.limits.migration;
        let done = match tokio::time::timeout(limit, &mut doing).await {
            Ok(done) => done,
            Err(_) => {
                self.interrupt.interrupt();
                let _ = doing.await;
                interrupts.0 = None;
                return Err(DatabaseError::TooLong(limit, String::new()));
            }
        };
        interrupts.0 = None;
        match done {
            Ok(done) => done.map_err(|error| self.error(&error)),
            Err(error) => Err(DatabaseError::Statement(error.to_string())),
        }
    }

    fn error(&self, error: &rusqlite::Error) -> DatabaseError {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                DatabaseError::Locked { by: holder(&self.path), waited: self.limits.lock }
            }
            _ => DatabaseError::Statement(error.to_string()),
        }
    }
}

/// What became of a migration in a transaction.
enum Applied {
    /// It is committed.
    Whole,
    /// It has ended the transaction itself.
    EndedEarly,
    /// Rows refer to others that are not there, so nothing is applied.
    Broken,
}

/// How many references may be broken after a migration.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Broken {
    None,
    /// As many as were before it. To count them takes as long as the file is large.
    AsBefore,
}

fn apply_whole(
    connection: &mut Connection,
    apply: &Apply,
    may_be: Broken,
    abandoned: &AtomicBool,
) -> rusqlite::Result<Applied> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    still_wanted(abandoned)?;
    let allowed = match may_be {
        Broken::None => 0,
        Broken::AsBefore => broken_references(&transaction)?,
    };
    let before = measure(&transaction, &apply.things)?;
    transaction.execute_batch(&apply.migration.up.text)?;
    if transaction.is_autocommit() {
        return Ok(Applied::EndedEarly);
    }
    if broken_references(&transaction)? > allowed {
        return Ok(Applied::Broken);
    }
    let rows = with_before(&before, measure(&transaction, &apply.things)?);
    insert(&transaction, apply, &rows)?;
    still_wanted(abandoned)?;
    transaction.commit()?;
    Ok(Applied::Whole)
}

/// Fails if nobody waits for the work any more.
fn still_wanted(abandoned: &AtomicBool) -> rusqlite::Result<()> {
    match abandoned.load(Ordering::SeqCst) {
        false => Ok(()),
        true => Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_INTERRUPT),
            Some("nobody waits for it any more".to_owned()),
        )),
    }
}

fn apply_alone(connection: &Connection, apply: &Apply) -> rusqlite::Result<()> {
    let before = measure(connection, &apply.things)?;
    let begun = Apply { record: Record { stage: Stage::Begun, ..apply.record.clone() }, ..apply.clone() };
    insert(connection, &begun, &Rows::default())?;
    connection.execute_batch(&apply.migration.up.text)?;
    let rows = with_before(&before, measure(connection, &apply.things)?);
    let applied = "UPDATE cutover_migrations SET stage = 'applied', rows_then = ?2 WHERE number = ?1";
    connection.execute(applied, params![signed(apply.record.number), rows.to_text()]).map(drop)
}

/// Fails if another program has applied the migration in the meantime.
fn insert(connection: &Connection, apply: &Apply, rows: &Rows) -> rusqlite::Result<()> {
    let Apply { record, position, .. } = apply;
    let values = params![
        signed(record.number),
        signed(*position),
        record.name,
        record.checksum,
        record.deployment,
        record.version,
        record.stage.as_str(),
        signed(record.at.0),
        rows.to_text(),
    ];
    connection.execute(INSERT, values).map(drop)
}

fn delete(connection: &Connection, number: i64) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM cutover_migrations WHERE number = ?1", [number]).map(drop)
}

fn fields(connection: &Connection) -> rusqlite::Result<Vec<Fields>> {
    let is_there = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1";
    if connection.query_row(is_there, [TABLE], |_| Ok(())).optional()?.is_none() {
        return Ok(Vec::new());
    }
    let mut statement = connection.prepare(SELECT)?;
    let rows = statement.query_map([], |row| Fields::of(row))?;
    rows.collect()
}

impl Columns for Row<'_> {
    type Error = rusqlite::Error;

    fn number(&self, at: usize) -> rusqlite::Result<i64> {
        self.get(at)
    }

    fn text(&self, at: usize) -> rusqlite::Result<String> {
        self.get(at)
    }
}

fn broken_references(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0))
}
