//! PostgreSQL: a session has an advisory lock, and each migration is a transaction.

use std::collections::BTreeSet;
use std::time::Duration;

use cutover_core::migration::{Measure, Reason, Record, Rows, Stage, Thing, Undo};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::DatabaseError;
use crate::request::{Apply, Check, Fields, Settle, TABLE, is_expression, quoted, signed, with_before};
use crate::url::{Kind, Limits, Url};
use crate::{sql, tls};

/// "cutover" as a number. Advisory locks are those of one database.
const LOCK: i64 = 0x0063_7574_6f76_6572;

const CREATE: &str = "CREATE TABLE IF NOT EXISTS cutover_migrations (
    number BIGINT PRIMARY KEY, position BIGINT NOT NULL, name TEXT NOT NULL, checksum TEXT NOT NULL, deployment TEXT NOT NULL,
    version TEXT NOT NULL, stage TEXT NOT NULL, applied_at TIMESTAMPTZ NOT NULL, rows_then TEXT NOT NULL)";

const INSERT: &str = "INSERT INTO cutover_migrations
    (number, position, name, checksum, deployment, version, stage, applied_at, rows_then)
    VALUES ($1, $2, $3, $4, $5, $6, $7, to_timestamp($8::bigint / 1000.0), $9)";

const SELECT: &str = "SELECT number, name, checksum, deployment, version, stage,
    round(extract(epoch FROM applied_at) * 1000)::bigint, rows_then FROM cutover_migrations ORDER BY position";

/// The default of a column. No row: there is no such column.
const DEFAULT: &str = "SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attribute a
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = to_regclass($1) AND a.attname = $2 AND NOT a.attisdropped";

/// Who holds the lock.
const HOLDER: &str = "SELECT format('process %s of user %s (%s%s), %s since %s', a.pid, a.usename, a.application_name,
        coalesce(' from ' || host(a.client_addr), ''), a.state, date_trunc('second', a.state_change))
    FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.database = (SELECT oid FROM pg_database
        WHERE datname = current_database()) AND ((l.classid::bigint << 32) | l.objid::bigint) = $1 LIMIT 1";

/// The oldest transaction of others: what a migration waits for.
const OLDEST: &str = "SELECT format('the oldest transaction is that of process %s of user %s (%s), %s, begun at %s', pid, usename,
        application_name, state, date_trunc('second', xact_start))
    FROM pg_stat_activity WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid() AND datname = current_database()
    ORDER BY xact_start LIMIT 1";

/// A connection.
pub(crate) struct Postgres {
    client: Client,
    limits: Limits,
}

impl Postgres {
    pub(crate) async fn open(url: &Url, limits: Limits, who: &str) -> Result<Self, DatabaseError> {
        let mut config: Config = url.secret().parse().map_err(|error| url.refused_by_driver(error))?;
        config.application_name(format!("cutover {who}")).connect_timeout(Duration::from_secs(5));
        let connect = |why: String| DatabaseError::Connect { url: url.to_string(), why };
        let client = if url.tls().required {
            config.ssl_mode(tokio_postgres::config::SslMode::Require);
            let tls = MakeRustlsConnect::new(tls::client(url.tls()).map_err(connect)?);
            let (client, connection) = config.connect(tls).await.map_err(|error| connect(text(&error)))?;
            tokio::spawn(until_closed(connection));
            client
        } else {
            config.ssl_mode(tokio_postgres::config::SslMode::Disable);
            let (client, connection) = config.connect(NoTls).await.map_err(|error| connect(text(&error)))?;
            tokio::spawn(until_closed(connection));
            client
        };
        let session = Self { client, limits };
        let (lock, limit) = (limits.lock.as_millis(), limits.migration.as_millis());
        session
            .batch(&format!(
                "SET lock_timeout = {lock}; SET statement_timeout = {limit};
                 SET idle_in_transaction_session_timeout = {limit}; SET client_min_messages = warning"
            ))
            .await?;
        // So that the server notices soon that this program was killed. Older servers do not have it.
        let _ = session.batch("SET client_connection_check_interval = 1000").await;
        Ok(session)
    }

    pub(crate) async fn lock(&mut self) -> Result<(), DatabaseError> {
        let locked = self.execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await;
        match locked {
            Ok(_) => {}
            Err(DatabaseError::Locked { waited, .. }) => {
                let holder = self.client.query_opt(HOLDER, &[&LOCK]).await.ok().flatten();
                let by = holder.and_then(|row| row.try_get(0).ok());
                let by = by.unwrap_or_else(|| "another session, which has ended by now".to_owned());
                return Err(DatabaseError::Locked { by, waited });
            }
            Err(error) => return Err(error),
        }
        self.batch(CREATE).await
    }

    pub(crate) async fn records(&mut self) -> Result<Vec<Record>, DatabaseError> {
        if !self.is_there(TABLE).await? {
            return Ok(Vec::new());
        }
        let mut all = Vec::new();
        for row in self.query(SELECT, &[]).await? {
            let fields = || {
                Ok(Fields {
                    number: row.try_get(0)?,
                    name: row.try_get(1)?,
                    checksum: row.try_get(2)?,
                    deployment: row.try_get(3)?,
                    version: row.try_get(4)?,
                    stage: row.try_get(5)?,
                    at: row.try_get(6)?,
                    rows: row.try_get(7)?,
                })
            };
            all.push(fields().map_err(|error| self.error(&error))?.record()?);
        }
        Ok(all)
    }

    pub(crate) async fn measure(&mut self, things: &BTreeSet<Thing>) -> Result<Rows, DatabaseError> {
        let mut all = Vec::new();
        for thing in things {
            let table = quoted(&thing.table, '"');
            let query = match &thing.column {
                None => {
                    if !self.is_there(&table).await? {
                        continue;
                    }
                    format!(
                        "SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text FROM {table} AS t"
                    )
                }
                Some(column) => {
                    let values: [&(dyn ToSql + Sync); 2] = [&table, column];
                    let found = self.query(DEFAULT, &values).await?;
                    let Some(row) = found.first() else { continue };
                    let default: Option<String> = row.try_get(0).map_err(|error| self.error(&error))?;
                    let default = default.filter(|default| !is_expression(default));
                    let (column, default) = (quoted(column, '"'), default.unwrap_or("NULL".to_owned()));
                    format!(
                        "SELECT count(*), coalesce(sum(hashtextextended({column}::text, 0)::numeric), 0)::text FROM {table}
                         WHERE {column}::text IS DISTINCT FROM ({default})::text"
                    )
                }
            };
            let found = self.query(&query, &[]).await?;
            let Some(row) = found.first() else { continue };
            let rows: i64 = row.try_get(0).map_err(|error| self.error(&error))?;
            let sum = row.try_get(1).map_err(|error| self.error(&error))?;
            let rows = u64::try_from(rows).unwrap_or_default();
            all.push(Measure { thing: thing.clone(), rows, sum, was_there: false });
        }
        Ok(Rows(all))
    }

    pub(crate) async fn apply(&mut self, apply: &Apply) -> Result<(), DatabaseError> {
        let up = &apply.migration.up;
        if up.marks.no_transaction {
            return self.apply_alone(apply).await;
        }
        if let Some(found) = sql::own_transaction(Kind::Postgres, &up.text) {
            return Err(DatabaseError::OwnTransaction(up.file.clone(), found));
        }
        self.batch("BEGIN").await?;
        let done = async {
            let before = self.measure(&apply.things).await?;
            self.script(&up.text).await?;
            let rows = with_before(&before, self.measure(&apply.things).await?);
            self.insert(apply, Stage::Applied, &rows).await
        };
        let done = done.await;
        self.end(done).await
    }

    pub(crate) async fn revert(
        &mut self,
        undo: &Undo,
        check: Check<'_>,
    ) -> Result<Option<Reason>, DatabaseError> {
        let Some(down) = &undo.down else { return Ok(Some(Reason::NoDown(undo.record.shown()))) };
        let number = signed(undo.record.number);
        if down.marks.no_transaction {
            let now = self.measure(&undo.drops.things).await?;
            if let Some(reason) = check(&now) {
                return Ok(Some(reason));
            }
            let reverting = "UPDATE cutover_migrations SET stage = 'reverting' WHERE number = $1";
            self.execute(reverting, &[&number]).await?;
            self.one_by_one(&down.text).await?;
            self.delete(number).await?;
            return Ok(None);
        }
        if let Some(found) = sql::own_transaction(Kind::Postgres, &down.text) {
            return Err(DatabaseError::OwnTransaction(down.file.clone(), found));
        }
        self.batch("BEGIN").await?;
        let mut asks = None;
        let done = async {
            // Nobody writes between the look and the drop.
            let there = self.measure(&undo.drops.things).await?;
            for measure in &there.0 {
                let table = quoted(&measure.thing.table, '"');
                self.batch(&format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")).await?;
            }
            asks = check(&self.measure(&undo.drops.things).await?);
            if asks.is_none() {
                self.script(&down.text).await?;
                self.delete(number).await?;
            }
            Ok(())
        };
        let done = done.await;
        match asks {
            Some(reason) => {
                self.batch("ROLLBACK").await?;
                Ok(Some(reason))
            }
            None => self.end(done).await.map(|()| None),
        }
    }

    pub(crate) async fn settle(&mut self, number: u64, to: Settle) -> Result<(), DatabaseError> {
        let number = signed(number);
        match to {
            Settle::Applied => {
                let applied = "UPDATE cutover_migrations SET stage = 'applied' WHERE number = $1";
                self.execute(applied, &[&number]).await.map(drop)
            }
            Settle::Gone => self.delete(number).await,
        }
    }

    /// Ends a transaction. If the connection is lost here, it is not known whether it was committed.
    async fn end(&self, done: Result<(), DatabaseError>) -> Result<(), DatabaseError> {
        match done {
            Ok(()) => self.batch("COMMIT").await,
            Err(error) if error.is_lost() => Err(error),
            Err(error) => {
                let why = match &error {
                    DatabaseError::Locked { waited, .. } => {
                        self.batch("ROLLBACK").await?;
                        let oldest = self.client.query_opt(OLDEST, &[]).await.ok().flatten();
                        let by = oldest.and_then(|row| row.try_get(0).ok());
                        let by = by.unwrap_or_else(|| "a transaction that has ended by now".to_owned());
                        return Err(DatabaseError::Locked { by, waited: *waited });
                    }
                    _ => error,
                };
                self.batch("ROLLBACK").await?;
                Err(why)
            }
        }
    }

    async fn apply_alone(&mut self, apply: &Apply) -> Result<(), DatabaseError> {
        let before = self.measure(&apply.things).await?;
        self.insert(apply, Stage::Begun, &Rows::default()).await?;
        self.one_by_one(&apply.migration.up.text).await?;
        let rows = with_before(&before, self.measure(&apply.things).await?).to_text();
        let applied = "UPDATE cutover_migrations SET stage = 'applied', rows_then = $2 WHERE number = $1";
        let number = signed(apply.record.number);
        self.execute(applied, &[&number, &rows]).await.map(drop)
    }

    /// Runs statements outside a transaction. Several in one message would be one.
    async fn one_by_one(&self, text: &str) -> Result<(), DatabaseError> {
        for statement in sql::statements(Kind::Postgres, text).map_err(DatabaseError::Statement)? {
            self.script(&statement).await?;
        }
        Ok(())
    }

    async fn script(&self, text: &str) -> Result<(), DatabaseError> {
        let limit = self.limits.migration;
        match tokio::time::timeout(limit, self.batch(text)).await {
            Ok(done) => done,
            Err(_) => {
                let _ = self.client.cancel_token().cancel_query(NoTls).await;
                Err(DatabaseError::TooLong(limit, String::new()))
            }
        }
    }

    async fn insert(&self, apply: &Apply, stage: Stage, rows: &Rows) -> Result<(), DatabaseError> {
        let Apply { record, position, .. } = apply;
        self.execute(
            INSERT,
            &[
                &signed(record.number),
                &signed(*position),
                &record.name,
                &record.checksum,
                &record.deployment,
                &record.version,
                &stage.as_str(),
                &signed(record.at.0),
                &rows.to_text(),
            ],
        )
        .await
        .map(drop)
    }

    async fn delete(&self, number: i64) -> Result<(), DatabaseError> {
        self.execute("DELETE FROM cutover_migrations WHERE number = $1", &[&number]).await.map(drop)
    }

    async fn batch(&self, text: &str) -> Result<(), DatabaseError> {
        self.client.batch_execute(text).await.map_err(|error| self.error(&error))
    }

    async fn is_there(&self, table: &str) -> Result<bool, DatabaseError> {
        let found = self.query("SELECT to_regclass($1) IS NOT NULL", &[&table]).await?;
        Ok(found.first().is_some_and(|row| row.try_get(0).unwrap_or(false)))
    }

    async fn execute(&self, query: &str, values: &[&(dyn ToSql + Sync)]) -> Result<u64, DatabaseError> {
        self.client.execute(query, values).await.map_err(|error| self.error(&error))
    }

    async fn query(&self, query: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, DatabaseError> {
        self.client.query(query, values).await.map_err(|error| self.error(&error))
    }

    fn error(&self, error: &tokio_postgres::Error) -> DatabaseError {
        let Some(said) = error.as_db_error() else {
            return match error.is_closed()
                || std::error::Error::source(error).is_some_and(|why| why.is::<std::io::Error>())
            {
                true => DatabaseError::Lost(text(error)),
                false => DatabaseError::Statement(text(error)),
            };
        };
        let code = said.code();
        match code {
            &SqlState::LOCK_NOT_AVAILABLE => {
                DatabaseError::Locked { by: String::new(), waited: self.limits.lock }
            }
            &SqlState::QUERY_CANCELED => DatabaseError::TooLong(self.limits.migration, String::new()),
            &SqlState::ADMIN_SHUTDOWN | &SqlState::CRASH_SHUTDOWN | &SqlState::CANNOT_CONNECT_NOW => {
                DatabaseError::Lost(text(error))
            }
            _ => DatabaseError::Statement(text(error)),
        }
    }
}

async fn until_closed<S, T>(connection: tokio_postgres::Connection<S, T>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    // The client learns it, too.
    let _ = connection.await;
}

/// The server's message with its code, or the error with its reason.
fn text(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(said) => {
            let detail = said.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
            format!("{}{detail} (SQLSTATE {})", said.message(), said.code().code())
        }
        None => match std::error::Error::source(error) {
            Some(why) => format!("{error}: {why}"),
            None => error.to_string(),
        },
    }
}
