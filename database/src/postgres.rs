//! PostgreSQL: a session has an advisory lock, and each migration is a transaction.

use std::collections::BTreeSet;

use cutover_core::migration::{Measure, Reason, Record, Rows, Stage, Thing, Undo};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::error::DatabaseError;
use crate::request::{Apply, Check, Columns, Fields, Settle, TABLE, is_expression, quoted, signed};
use crate::sql;
use crate::url::{Kind, Limits, Url};

mod server;

use server::Server;

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
    server: Server,
}

impl Postgres {
    pub(crate) async fn open(url: &Url, limits: Limits, who: &str) -> Result<Self, DatabaseError> {
        let server = Server::connect(url, limits, who).await?;
        let (lock, limit) = (limits.lock.as_millis(), limits.migration.as_millis());
        server
            .batch(&format!(
                "SET lock_timeout = {lock}; SET statement_timeout = {limit};
                 SET idle_in_transaction_session_timeout = {limit}; SET client_min_messages = warning"
            ))
            .await?;
        // So that the server notices soon that this program was killed. Older servers do not have it.
        let _ = server.batch("SET client_connection_check_interval = 1000").await;
        Ok(Self { server })
    }

    pub(crate) async fn lock(&mut self) -> Result<(), DatabaseError> {
        let locked = self.server.execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await;
        match locked {
            Ok(_) => {}
            Err(DatabaseError::Locked { waited, .. }) => {
                let by = self.said(HOLDER, &[&LOCK]).await;
                let by = by.unwrap_or_else(|| "another session, which has ended by now".to_owned());
                return Err(DatabaseError::Locked { by, waited });
            }
            Err(error) => return Err(error),
        }
        self.server.batch(CREATE).await
    }

    pub(crate) async fn records(&mut self) -> Result<Vec<Record>, DatabaseError> {
        if !self.is_there(TABLE).await? {
            return Ok(Vec::new());
        }
        let rows = self.server.query(SELECT, &[]).await?;
        let fields = rows.iter().map(|row| Fields::of(row).map_err(|error| self.server.error(&error)));
        fields.map(|fields| fields?.record()).collect()
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
                    let Some(default) = self.default(&table, column).await? else { continue };
                    let default = default.filter(|default| !is_expression(default));
                    let (column, default) = (quoted(column, '"'), default.unwrap_or("NULL".to_owned()));
                    format!(
                        "SELECT count(*), coalesce(sum(hashtextextended({column}::text, 0)::numeric), 0)::text FROM {table}
                         WHERE {column}::text IS DISTINCT FROM ({default})::text"
                    )
                }
            };
            let found = self.server.query(&query, &[]).await?;
            let Some(row) = found.first() else { continue };
            let rows: i64 = row.try_get(0).map_err(|error| self.server.error(&error))?;
            let sum = row.try_get(1).map_err(|error| self.server.error(&error))?;
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
        self.server.batch("BEGIN").await?;
        let done = async {
            let before = self.there(&apply.things).await?;
            self.server.script(&up.text).await?;
            self.insert(apply, Stage::Applied, &before).await
        };
        let done = done.await;
        self.end(done).await
    }

    /// Records what is in the tables and columns that the revert of an applied migration would drop. It takes as long as they are
    /// large, so it is no part of the transaction, whose locks the old version would wait for.
    pub(crate) async fn count(&mut self, number: u64, things: &BTreeSet<Thing>) -> Result<(), DatabaseError> {
        let records = self.records().await?;
        let Some(record) = records.into_iter().find(|record| record.number == number) else { return Ok(()) };
        let Rows(mut rows) = record.rows;
        let is_new = |thing: &&Thing| rows.iter().all(|known| known.thing != **thing);
        let new: BTreeSet<Thing> = things.iter().filter(is_new).cloned().collect();
        if new.is_empty() {
            return Ok(());
        }
        rows.extend(self.measure(&new).await?.0);
        let update = "UPDATE cutover_migrations SET rows_then = $2 WHERE number = $1";
        self.server.execute(update, &[&signed(number), &Rows(rows).to_text()]).await.map(drop)
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
            self.server.execute(reverting, &[&number]).await?;
            self.one_by_one(&down.text).await?;
            self.delete(number).await?;
            return Ok(None);
        }
        if let Some(found) = sql::own_transaction(Kind::Postgres, &down.text) {
            return Err(DatabaseError::OwnTransaction(down.file.clone(), found));
        }
        self.server.batch("BEGIN").await?;
        let mut asks = None;
        let done = async {
            // Nobody writes between the look and the drop.
            let there = self.there(&undo.drops.things).await?;
            for measure in &there.0 {
                let table = quoted(&measure.thing.table, '"');
                self.server.batch(&format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")).await?;
            }
            asks = check(&self.measure(&undo.drops.things).await?);
            if asks.is_none() {
                self.server.script(&down.text).await?;
                self.delete(number).await?;
            }
            Ok(())
        };
        let done = done.await;
        match asks {
            Some(reason) => {
                self.server.roll_back().await;
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
                self.server.execute(applied, &[&number]).await.map(drop)
            }
            Settle::Gone => self.delete(number).await,
        }
    }

    /// Ends a transaction. If the connection is lost here, it is not known whether it was committed.
    async fn end(&self, done: Result<(), DatabaseError>) -> Result<(), DatabaseError> {
        match done {
            Ok(()) => self.server.batch("COMMIT").await,
            Err(error) if error.is_lost() => Err(error),
            Err(error) => {
                let is_answering = self.server.roll_back().await;
                match error {
                    DatabaseError::Locked { waited, .. } if is_answering => {
                        let by = self.said(OLDEST, &[]).await;
                        let by = by.unwrap_or_else(|| "a transaction that has ended by now".to_owned());
                        Err(DatabaseError::Locked { by, waited })
                    }
                    error => Err(error),
                }
            }
        }
    }

    async fn apply_alone(&mut self, apply: &Apply) -> Result<(), DatabaseError> {
        let before = self.there(&apply.things).await?;
        self.insert(apply, Stage::Begun, &before).await?;
        self.one_by_one(&apply.migration.up.text).await?;
        let applied = "UPDATE cutover_migrations SET stage = 'applied' WHERE number = $1";
        self.server.execute(applied, &[&signed(apply.record.number)]).await.map(drop)
    }

    /// Runs statements outside a transaction. Several in one message would be one.
    async fn one_by_one(&self, text: &str) -> Result<(), DatabaseError> {
        for statement in sql::statements(Kind::Postgres, text).map_err(DatabaseError::Statement)? {
            self.server.script(&statement).await?;
        }
        Ok(())
    }

    async fn insert(&self, apply: &Apply, stage: Stage, rows: &Rows) -> Result<(), DatabaseError> {
        let Apply { record, position, .. } = apply;
        self.server
            .execute(
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
        self.server.execute("DELETE FROM cutover_migrations WHERE number = $1", &[&number]).await.map(drop)
    }

    /// Those of the things that are there, marked so. What is in them is not looked at.
    async fn there(&self, things: &BTreeSet<Thing>) -> Result<Rows, DatabaseError> {
        let mut all = Vec::new();
        for thing in things {
            let table = quoted(&thing.table, '"');
            let is_there = match &thing.column {
                None => self.is_there(&table).await?,
                Some(column) => self.default(&table, column).await?.is_some(),
            };
            if is_there {
                all.push(Measure { thing: thing.clone(), rows: 0, sum: String::new(), was_there: true });
            }
        }
        Ok(Rows(all))
    }

    /// The default of a column. `None`: there is no such column.
    async fn default(&self, table: &str, column: &str) -> Result<Option<Option<String>>, DatabaseError> {
        let values: [&(dyn ToSql + Sync); 2] = [&table, &column];
        let found = self.server.query(DEFAULT, &values).await?;
        let Some(row) = found.first() else { return Ok(None) };
        row.try_get(0).map(Some).map_err(|error| self.server.error(&error))
    }

    async fn is_there(&self, table: &str) -> Result<bool, DatabaseError> {
        let found = self.server.query("SELECT to_regclass($1) IS NOT NULL", &[&table]).await?;
        Ok(found.first().is_some_and(|row| row.try_get(0).unwrap_or(false)))
    }

    /// What the server says about itself in one text.
    async fn said(&self, query: &str, values: &[&(dyn ToSql + Sync)]) -> Option<String> {
        self.server.query(query, values).await.ok()?.first()?.try_get(0).ok()
    }
}

impl Columns for Row {
    type Error = tokio_postgres::Error;

    fn number(&self, at: usize) -> Result<i64, Self::Error> {
        self.try_get(at)
    }

    fn text(&self, at: usize) -> Result<String, Self::Error> {
        self.try_get(at)
    }
}
