//! A connection to a database, and what migrations need of it.

use std::collections::BTreeSet;

use cutover_core::deployment::Time;
use cutover_core::migration::{Migration, Reason, Record, Rows, Stage, Thing, Undo};

use crate::error::DatabaseError;
use crate::mysql::Mysql;
use crate::postgres::Postgres;
use crate::sqlite::Sqlite;
use crate::url::{Kind, Limits, Url};

/// The table of the records.
pub(crate) const TABLE: &str = "cutover_migrations";

/// A connection. Dropping it ends what is under way, and the database undoes what is not committed.
pub(crate) enum Session {
    Sqlite(Sqlite),
    Postgres(Postgres),
    Mysql(Mysql),
}

/// A migration to apply.
#[derive(Clone, Debug)]
pub(crate) struct Apply {
    pub(crate) migration: Migration,
    /// What its revert would drop.
    pub(crate) things: BTreeSet<Thing>,
    /// Its record, without rows.
    pub(crate) record: Record,
    /// Its place in the order of application, from 1.
    pub(crate) position: u64,
}

/// What became of an interrupted migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settle {
    Applied,
    Gone,
}

/// Looks at what is there now, and says why it must not be dropped.
pub(crate) type Check<'a> = &'a (dyn Fn(&Rows) -> Option<Reason> + Send + Sync);

/// The fields of a row of the table.
#[derive(Debug)]
pub(crate) struct Fields {
    pub(crate) number: i64,
    pub(crate) name: String,
    pub(crate) checksum: String,
    pub(crate) deployment: String,
    pub(crate) version: String,
    pub(crate) stage: String,
    pub(crate) at: i64,
    pub(crate) rows: String,
}

impl Session {
    /// Connects. `who` is shown to those who look for the holder of a lock.
    pub(crate) async fn open(url: &Url, limits: Limits, who: &str) -> Result<Self, DatabaseError> {
        Ok(match url.kind() {
            Kind::Sqlite => Self::Sqlite(Sqlite::open(url, limits).await?),
            Kind::Postgres => Self::Postgres(Postgres::open(url, limits, who).await?),
            Kind::Mysql => Self::Mysql(Mysql::open(url, limits, who).await?),
        })
    }

    /// Takes the lock of the migrations, which ends with the session, and creates the table if it is not there.
    pub(crate) async fn lock(&mut self) -> Result<(), DatabaseError> {
        match self {
            Self::Sqlite(its) => its.lock().await,
            Self::Postgres(its) => its.lock().await,
            Self::Mysql(its) => its.lock().await,
        }
    }

    /// The records, in the order in which they were applied.
    pub(crate) async fn records(&mut self) -> Result<Vec<Record>, DatabaseError> {
        match self {
            Self::Sqlite(its) => its.records().await,
            Self::Postgres(its) => its.records().await,
            Self::Mysql(its) => its.records().await,
        }
    }

    /// What is in tables and columns. Those that are not there are left out.
    pub(crate) async fn measure(&mut self, things: &BTreeSet<Thing>) -> Result<Rows, DatabaseError> {
        match self {
            Self::Sqlite(its) => its.measure(things).await,
            Self::Postgres(its) => its.measure(things).await,
            Self::Mysql(its) => its.measure(things).await,
        }
    }

    /// Applies a migration and writes its record.
    pub(crate) async fn apply(&mut self, apply: Apply) -> Result<(), DatabaseError> {
        match self {
            Self::Sqlite(its) => its.apply(apply).await,
            Self::Postgres(its) => its.apply(&apply).await,
            Self::Mysql(its) => its.apply(&apply).await,
        }
    }

    /// Reverts a migration and deletes its record. Returns the reason if the check, just before, says that it must not.
    pub(crate) async fn revert(
        &mut self,
        undo: &Undo,
        check: Check<'_>,
    ) -> Result<Option<Reason>, DatabaseError> {
        match self {
            Self::Sqlite(its) => its.revert(undo, check).await,
            Self::Postgres(its) => its.revert(undo, check).await,
            Self::Mysql(its) => its.revert(undo, check).await,
        }
    }

    /// Writes what became of an interrupted migration.
    pub(crate) async fn settle(&mut self, number: u64, to: Settle) -> Result<(), DatabaseError> {
        match self {
            Self::Sqlite(its) => its.settle(number, to).await,
            Self::Postgres(its) => its.settle(number, to).await,
            Self::Mysql(its) => its.settle(number, to).await,
        }
    }
}

impl Fields {
    pub(crate) fn record(self) -> Result<Record, DatabaseError> {
        let stage = Stage::of(&self.stage)
            .ok_or_else(|| DatabaseError::Table(format!("its stage {:?} is not known", self.stage)))?;
        let whole = |number: i64, column: &str| {
            u64::try_from(number).map_err(|_| DatabaseError::Table(format!("its {column} is {number}")))
        };
        Ok(Record {
            number: whole(self.number, "number")?,
            name: self.name,
            checksum: self.checksum,
            deployment: self.deployment,
            version: self.version,
            stage,
            at: Time(whole(self.at, "applied_at")?),
            rows: Rows::from_text(&self.rows)?,
        })
    }
}

/// The rows after a migration, with what was there before it.
pub(crate) fn with_before(before: &Rows, after: Rows) -> Rows {
    let marked = after.0.into_iter().map(|mut measure| {
        measure.was_there = before.get(&measure.thing).is_some();
        measure
    });
    Rows(marked.collect())
}

/// A name in quotes. A dot separates the schema.
pub(crate) fn quoted(name: &str, quote: char) -> String {
    let double = format!("{quote}{quote}");
    let part = |part: &str| format!("{quote}{}{quote}", part.replace(quote, &double));
    name.split('.').map(part).collect::<Vec<_>>().join(".")
}

/// A number for a column of 64 bits with a sign. Folders have no larger ones.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Whether a default is an expression, whose value differs from row to row.
pub(crate) fn is_expression(default: &str) -> bool {
    default.contains('(')
}
