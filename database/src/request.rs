//! What a session is asked to do, and what the sessions of all databases share.

use std::collections::BTreeSet;

use cutover_core::deployment::Time;
use cutover_core::migration::{Migration, Reason, Record, Rows, Stage, Thing};

use crate::error::DatabaseError;

/// The table of the records.
pub(crate) const TABLE: &str = "cutover_migrations";

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

/// A row of the table, in the order of the columns of [`Fields`].
pub(crate) trait Columns {
    type Error;

    fn number(&self, at: usize) -> Result<i64, Self::Error>;

    fn text(&self, at: usize) -> Result<String, Self::Error>;
}

impl Fields {
    pub(crate) fn of<C: Columns>(row: &C) -> Result<Self, C::Error> {
        Ok(Self {
            number: row.number(0)?,
            name: row.text(1)?,
            checksum: row.text(2)?,
            deployment: row.text(3)?,
            version: row.text(4)?,
            stage: row.text(5)?,
            at: row.number(6)?,
            rows: row.text(7)?,
        })
    }

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
