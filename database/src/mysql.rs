//! MySQL and MariaDB: a session has a named lock. DDL commits by itself, so a migration is recorded before it begins and
//! after it ends.

use std::collections::BTreeSet;
use std::time::Duration;

use cutover_core::migration::{Measure, Reason, Record, Rows, Stage, Thing, Undo};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, Row};
use tokio::runtime::Handle;

use crate::error::DatabaseError;
use crate::request::{Apply, Check, Fields, Settle, quoted, signed, with_before};
use crate::sql;
use crate::url::{Limits, Url};

mod options;

use options::options;

/// Named locks are those of a server, so the name has the database in it. Names have at most 64 characters.
const LOCK: &str = "concat('cutover:', left(sha1(database()), 40))";

const CREATE: &str = "CREATE TABLE IF NOT EXISTS cutover_migrations (
    number BIGINT PRIMARY KEY, position BIGINT NOT NULL, name VARCHAR(255) NOT NULL, checksum VARCHAR(255) NOT NULL,
    deployment TEXT NOT NULL, version TEXT NOT NULL, stage VARCHAR(16) NOT NULL, applied_at DATETIME(3) NOT NULL,
    rows_then LONGTEXT NOT NULL) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4";

const INSERT: &str = "INSERT INTO cutover_migrations
    (number, position, name, checksum, deployment, version, stage, applied_at, rows_then)
    VALUES (?, ?, ?, ?, ?, ?, ?, from_unixtime(? / 1000), ?)";

const SELECT: &str = "SELECT number, name, checksum, deployment, version, stage,
    CAST(round(unix_timestamp(applied_at) * 1000) AS SIGNED), rows_then FROM cutover_migrations ORDER BY position";

/// How long a server may take to accept a connection.
const GRACE: Duration = Duration::from_secs(5);

/// A connection.
pub(crate) struct Mysql {
    connection: Conn,
    limits: Limits,
    /// For a second connection, which ends what this one does.
    opts: Opts,
    /// Whether something is under way. If nobody waits for it any more, it must end.
    pub(crate) is_busy: bool,
}

/// The default of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ColumnDefault {
    /// A value, which `default(column)` gives. NULL is one, too.
    Value,
    /// There is none, or it is an expression whose value differs from row to row.
    None,
}

impl Mysql {
    pub(crate) async fn open(url: &Url, limits: Limits, who: &str) -> Result<Self, DatabaseError> {
        let opts = options(url, who)?;
        let connect = |why: String| DatabaseError::Connect { url: url.to_string(), why };
        let connection = tokio::time::timeout(GRACE, Conn::new(opts.clone())).await;
        let connection = match connection {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(connect(error.to_string())),
            Err(_) => return Err(connect("it does not answer within 5s".to_owned())),
        };
        let mut session = Self { connection, limits, opts, is_busy: false };
        let lock = limits.lock.as_secs().max(1);
        session
            .plain(&format!(
                "SET SESSION lock_wait_timeout = {lock}, innodb_lock_wait_timeout = {lock}, time_zone = '+00:00'"
            ))
            .await?;
        // MariaDB has it, MySQL has not.
        let _ = session
            .plain(&format!("SET SESSION max_statement_time = {}", limits.migration.as_secs_f64()))
            .await;
        Ok(session)
    }

    pub(crate) async fn lock(&mut self) -> Result<(), DatabaseError> {
        let wait = self.limits.lock.as_secs().max(1);
        let got: Option<Option<i64>> =
            self.connection.query_first(format!("SELECT get_lock({LOCK}, {wait})")).await.map_err(error)?;
        if got.flatten() != Some(1) {
            let holder: Option<(u64, String, String, Option<String>, i64)> = self
                .connection
                .query_first(format!(
                    "SELECT id, user, host, info, time FROM information_schema.processlist WHERE id = is_used_lock({LOCK})"
                ))
                .await
                .map_err(error)?;
            let by = match holder {
                Some((id, user, host, info, time)) => {
                    let does = info.map_or("idle".to_owned(), |info| format!("running {info:.60}"));
                    format!("connection {id} of user {user} from {host}, {does}, since {time}s")
                }
                // Without the privilege PROCESS, a user sees only its own.
                None => {
                    let id: Option<Option<u64>> = self
                        .connection
                        .query_first(format!("SELECT is_used_lock({LOCK})"))
                        .await
                        .map_err(error)?;
                    match id.flatten() {
                        Some(id) => format!("connection {id}, which belongs to another user"),
                        None => "another connection, which has ended by now".to_owned(),
                    }
                }
            };
            return Err(DatabaseError::Locked { by, waited: self.limits.lock });
        }
        self.plain(CREATE).await
    }

    pub(crate) async fn records(&mut self) -> Result<Vec<Record>, DatabaseError> {
        if self.columns("cutover_migrations").await?.is_empty() {
            return Ok(Vec::new());
        }
        type Columns = (i64, String, String, String, String, String, i64, String);
        let rows: Vec<Columns> = self.connection.query(SELECT).await.map_err(error)?;
        rows.into_iter()
            .map(|(number, name, checksum, deployment, version, stage, at, rows)| {
                Fields { number, name, checksum, deployment, version, stage, at, rows }.record()
            })
            .collect()
    }

    pub(crate) async fn measure(&mut self, things: &BTreeSet<Thing>) -> Result<Rows, DatabaseError> {
        let mut all = Vec::new();
        for thing in things {
            let columns = self.columns(&thing.table).await?;
            let table = quoted(&thing.table, '`');
            // NULL and an empty text differ, and so do ("a", "bc") and ("ab", "c").
            let content = |column: &str| format!("coalesce(hex({}), '-')", quoted(column, '`'));
            let (content, condition) = match &thing.column {
                None if columns.is_empty() => continue,
                None => (
                    columns.iter().map(|(name, _)| content(name)).collect::<Vec<_>>().join(", "),
                    "true".to_owned(),
                ),
                Some(column) => {
                    let its = columns.iter().find(|(name, _)| name.eq_ignore_ascii_case(column));
                    let Some((column, default)) = its else { continue };
                    let quoted = quoted(column, '`');
                    let condition = match default {
                        ColumnDefault::Value => format!("NOT ({quoted} <=> default({quoted}))"),
                        ColumnDefault::None => format!("{quoted} IS NOT NULL"),
                    };
                    (content(column), condition)
                }
            };
            let query = format!(
                "SELECT count(*), CAST(coalesce(sum(CAST(conv(left(md5(concat_ws('.', {content})), 15), 16, 10) AS UNSIGNED)), 0)
                 AS CHAR) FROM {table} WHERE {condition}"
            );
            let row: Option<(u64, String)> = self.connection.query_first(query).await.map_err(error)?;
            let (rows, sum) = row.unwrap_or_default();
            all.push(Measure { thing: thing.clone(), rows, sum, was_there: false });
        }
        Ok(Rows(all))
    }

    pub(crate) async fn apply(&mut self, apply: &Apply) -> Result<(), DatabaseError> {
        let up = &apply.migration.up;
        let before = self.measure(&apply.things).await?;
        if sql::changes_rows_only(&up.text) {
            self.plain("START TRANSACTION").await?;
            let done = match self.script(&up.text).await {
                Ok(()) => self.insert(apply, Stage::Applied).await,
                Err((_, error)) => Err(error),
            };
            return self.end(done).await;
        }
        self.insert(apply, Stage::Begun).await?;
        let number = signed(apply.record.number);
        match self.script(&up.text).await {
            Ok(()) => {}
            // The first statement was refused, so nothing has changed.
            Err((0, error)) if !error.is_lost() => {
                self.delete(number).await?;
                return Err(error);
            }
            Err((_, error)) => return Err(error),
        }
        // All of it is applied. What cannot be counted stays unknown, and an operator is asked before the revert.
        let rows = match self.measure(&apply.things).await {
            Ok(now) => with_before(&before, now).to_text(),
            Err(why) if why.is_lost() => return Err(why),
            Err(why) => {
                tracing::warn!(file = up.file, %why, "failed to count the rows that a revert would lose");
                Rows::default().to_text()
            }
        };
        let applied = "UPDATE cutover_migrations SET stage = 'applied', rows_then = ? WHERE number = ?";
        self.connection.exec_drop(applied, (rows, number)).await.map_err(error)
    }

    pub(crate) async fn revert(
        &mut self,
        undo: &Undo,
        check: Check<'_>,
    ) -> Result<Option<Reason>, DatabaseError> {
        let Some(down) = &undo.down else { return Ok(Some(Reason::NoDown(undo.record.shown()))) };
        let number = signed(undo.record.number);
        let now = self.measure(&undo.drops.things).await?;
        if let Some(reason) = check(&now) {
            return Ok(Some(reason));
        }
        if sql::changes_rows_only(&down.text) {
            self.plain("START TRANSACTION").await?;
            let done = match self.script(&down.text).await {
                Ok(()) => self.delete(number).await,
                Err((_, error)) => Err(error),
            };
            return self.end(done).await.map(|()| None);
        }
        self.stage(number, Stage::Reverting).await?;
        match self.script(&down.text).await {
            Ok(()) => {}
            Err((0, error)) if !error.is_lost() => {
                self.stage(number, Stage::Applied).await?;
                return Err(error);
            }
            Err((_, error)) => return Err(error),
        }
        self.delete(number).await.map(|()| None)
    }

    pub(crate) async fn settle(&mut self, number: u64, to: Settle) -> Result<(), DatabaseError> {
        let number = signed(number);
        match to {
            Settle::Applied => self.stage(number, Stage::Applied).await,
            Settle::Gone => self.delete(number).await,
        }
    }

    async fn end(&mut self, done: Result<(), DatabaseError>) -> Result<(), DatabaseError> {
        match done {
            Ok(()) => self.plain("COMMIT").await,
            Err(error) if error.is_lost() => Err(error),
            Err(error) => {
                self.plain("ROLLBACK").await?;
                Err(error)
            }
        }
    }

    /// Runs a script, which the server cuts into statements. An error has the number of statements that succeeded before.
    async fn script(&mut self, text: &str) -> Result<(), (u64, DatabaseError)> {
        let mut done = 0;
        let limit = self.limits.migration;
        let running = async {
            let mut result = self.connection.query_iter(text).await?;
            loop {
                let _: Vec<Row> = result.collect().await?;
                done += 1;
                if result.is_empty() {
                    // The driver keeps the error of a later statement for whoever asks next.
                    return result.drop_result().await;
                }
            }
        };
        match tokio::time::timeout(limit, running).await {
            Ok(ended) => ended.map_err(|why: mysql_async::Error| (done, error(why))),
            // The statement goes on in the server.
            Err(_) => {
                Err((done + 1, DatabaseError::TooLong(limit, " and may go on in the server".to_owned())))
            }
        }
    }

    async fn insert(&mut self, apply: &Apply, stage: Stage) -> Result<(), DatabaseError> {
        let Apply { record, position, .. } = apply;
        let values = (
            signed(record.number),
            signed(*position),
            record.name.clone(),
            record.checksum.clone(),
            record.deployment.clone(),
            record.version.clone(),
            stage.as_str(),
            signed(record.at.0),
            Rows::default().to_text(),
        );
        self.connection.exec_drop(INSERT, values).await.map_err(error)
    }

    async fn stage(&mut self, number: i64, stage: Stage) -> Result<(), DatabaseError> {
        let update = "UPDATE cutover_migrations SET stage = ? WHERE number = ?";
        self.connection.exec_drop(update, (stage.as_str(), number)).await.map_err(error)
    }

    async fn delete(&mut self, number: i64) -> Result<(), DatabaseError> {
        let delete = "DELETE FROM cutover_migrations WHERE number = ?";
        self.connection.exec_drop(delete, (number,)).await.map_err(error)
    }

    /// The columns of a table, and their defaults. Empty if there is no such table.
    async fn columns(&mut self, table: &str) -> Result<Vec<(String, ColumnDefault)>, DatabaseError> {
        let (schema, table) =
            table.split_once('.').map_or((None, table), |(schema, table)| (Some(schema), table));
        let query = "SELECT column_name, column_default IS NOT NULL OR is_nullable = 'YES', extra FROM information_schema.columns
             WHERE table_schema = coalesce(?, database()) AND table_name = ? ORDER BY ordinal_position";
        let rows: Vec<(String, bool, Option<String>)> =
            self.connection.exec(query, (schema, table)).await.map_err(error)?;
        let columns = rows.into_iter().map(|(name, has_default, extra)| {
            (name, ColumnDefault::of(has_default, extra.as_deref().unwrap_or_default()))
        });
        Ok(columns.collect())
    }

    async fn plain(&mut self, text: &str) -> Result<(), DatabaseError> {
        self.connection.query_drop(text).await.map_err(error)
    }
}

/// The server would notice only when it writes the answer, and keep the lock until then.
impl Drop for Mysql {
    fn drop(&mut self) {
        let Some(runtime) = Handle::try_current().ok().filter(|_| self.is_busy) else { return };
        let (opts, id) = (self.opts.clone(), self.connection.id());
        runtime.spawn(async move {
            let kill = async {
                let mut connection = Conn::new(opts).await?;
                connection.query_drop(format!("KILL {id}")).await?;
                connection.disconnect().await
            };
            if let Ok(Err(error)) = tokio::time::timeout(GRACE, kill).await {
                tracing::warn!(%error, "failed to end a statement of MySQL or MariaDB; it ends by itself");
            }
        });
    }
}

impl ColumnDefault {
    /// `extra`: the column EXTRA of information_schema.columns. There, MySQL writes DEFAULT_GENERATED for an expression, of which
    /// `default(column)` would be an error.
    fn of(has_default: bool, extra: &str) -> Self {
        match has_default && !extra.to_ascii_uppercase().contains("DEFAULT_GENERATED") {
            true => Self::Value,
            false => Self::None,
        }
    }
}

fn error(error: mysql_async::Error) -> DatabaseError {
    match &error {
        // Shutdown, or somebody has killed the connection.
        mysql_async::Error::Server(said) if matches!(said.code, 1053 | 1927 | 1152 | 1184) => {
            DatabaseError::Lost(error.to_string())
        }
        mysql_async::Error::Server(said) => DatabaseError::Statement(format!(
            "{} (error {}, SQLSTATE {})",
            said.message, said.code, said.state
        )),
        error if error.is_fatal() => DatabaseError::Lost(error.to_string()),
        error => DatabaseError::Statement(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the page of MySQL 8.0 on INFORMATION_SCHEMA.COLUMNS describes the column EXTRA.
    #[test]
    fn a_default_that_is_an_expression_is_no_value() {
        for (has_default, extra, found) in [
            (true, "", ColumnDefault::Value),
            (true, "on update current_timestamp()", ColumnDefault::Value),
            (true, "DEFAULT_GENERATED", ColumnDefault::None),
            (true, "DEFAULT_GENERATED on update CURRENT_TIMESTAMP", ColumnDefault::None),
            (false, "", ColumnDefault::None),
            (false, "auto_increment", ColumnDefault::None),
        ] {
            assert_eq!(ColumnDefault::of(has_default, extra), found, "{has_default} {extra}");
        }
    }
}
