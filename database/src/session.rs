//! A connection to a database, and what migrations need of it.

use std::collections::BTreeSet;

use cutover_core::migration::{Reason, Record, Rows, Thing, Undo};

use crate::error::DatabaseError;
use crate::mysql::Mysql;
use crate::postgres::Postgres;
use crate::request::{Apply, Check, Settle};
use crate::sqlite::Sqlite;
use crate::url::{Kind, Limits, Url};

/// A connection. Dropping it ends what is under way, and the database undoes what is not committed.
pub(crate) enum Session {
    Sqlite(Sqlite),
    Postgres(Postgres),
    Mysql(Mysql),
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
            Self::Mysql(its) => {
                its.is_busy = true;
                let done = its.lock().await;
                its.is_busy = false;
                done
            }
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
            Self::Mysql(its) => {
                its.is_busy = true;
                let done = its.measure(things).await;
                its.is_busy = false;
                done
            }
        }
    }

    /// Applies a migration and writes its record.
    pub(crate) async fn apply(&mut self, apply: Apply) -> Result<(), DatabaseError> {
        match self {
            Self::Sqlite(its) => its.apply(apply).await,
            Self::Postgres(its) => its.apply(&apply).await,
            Self::Mysql(its) => {
                its.is_busy = true;
                let done = its.apply(&apply).await;
                its.is_busy = false;
                done
            }
        }
    }

    /// Records what is in the tables and columns that the revert of an applied migration would drop, if that is not known yet.
    /// SQLite, MySQL and MariaDB have counted when they applied it.
    pub(crate) async fn count(&mut self, number: u64, things: &BTreeSet<Thing>) -> Result<(), DatabaseError> {
        match self {
            Self::Postgres(its) => its.count(number, things).await,
            Self::Sqlite(_) | Self::Mysql(_) => Ok(()),
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
            Self::Mysql(its) => {
                its.is_busy = true;
                let done = its.revert(undo, check).await;
                its.is_busy = false;
                done
            }
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
