//! The records of applied migrations, as the table `cutover_migrations` keeps them.

use serde::{Deserialize, Serialize};

use super::Thing;
use crate::deployment::Time;

/// How far a migration has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It was begun outside a transaction. Unless it runs now, it is applied in part, or whole, or not at all.
    Begun,
    /// It is applied.
    Applied,
    /// Its revert was begun outside a transaction.
    Reverting,
}

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The number of the migration.
    pub number: u64,
    /// Its name.
    pub name: String,
    /// The checksum of its `.up.sql` when it was applied.
    pub checksum: String,
    /// The deployment that applied it.
    pub deployment: String,
    /// The version of that deployment.
    pub version: String,
    /// How far it has come.
    pub stage: Stage,
    /// When it was applied, or begun.
    pub at: Time,
    /// What was in the tables and columns that its revert would drop, just after it was applied.
    pub rows: Rows,
}

/// Tables and columns, and what is in them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rows(pub Vec<Measure>);

/// What is in a table or column. Two measures are equal only if the content is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measure {
    /// The table or column.
    #[serde(flatten)]
    pub thing: Thing,
    /// Rows of the table, or rows whose column has another value than its default.
    pub rows: u64,
    /// A sum over the content, which does not depend on the order of the rows.
    pub sum: String,
    /// Whether it was there before the migration.
    #[serde(default)]
    pub was_there: bool,
}

/// The text in the table is not one that this program has written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the column \"rows_then\" of cutover_migrations has {0:?}, which is not understood: {1}")]
pub struct RowsError(String, String);

impl Stage {
    /// The word in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Applied => "applied",
            Self::Reverting => "reverting",
        }
    }

    /// The stage of a word.
    pub fn of(word: &str) -> Option<Self> {
        [Self::Begun, Self::Applied, Self::Reverting].into_iter().find(|stage| stage.as_str() == word)
    }
}

impl Record {
    /// `0007_gifts`, for people.
    pub fn shown(&self) -> String {
        shown(self.number, &self.name)
    }
}

impl Rows {
    /// The text for the table.
    pub fn to_text(&self) -> String {
        // Strings and numbers always become JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads the text of the table.
    pub fn from_text(text: &str) -> Result<Self, RowsError> {
        serde_json::from_str(text).map_err(|error| RowsError(text.to_owned(), error.to_string()))
    }

    /// What was measured of a table or column.
    pub fn get(&self, thing: &Thing) -> Option<&Measure> {
        self.0.iter().find(|measure| measure.thing == *thing)
    }
}

/// `0007_gifts`, for people.
pub(super) fn shown(number: u64, name: &str) -> String {
    format!("{number:04}_{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_survive_the_table() {
        let thing = Thing { table: "stock".to_owned(), column: Some("gift".to_owned()) };
        let rows =
            Rows(vec![Measure { thing: thing.clone(), rows: 3, sum: "77".to_owned(), was_there: false }]);
        assert_eq!(
            rows.to_text(),
            r#"[{"table":"stock","column":"gift","rows":3,"sum":"77","was_there":false}]"#
        );
        assert_eq!(Rows::from_text(&rows.to_text()), Ok(rows.clone()));
        assert_eq!(rows.get(&thing).map(|measure| measure.rows), Some(3));
        let bad = Rows::from_text("{").unwrap_err().to_string();
        assert!(bad.contains("cutover_migrations has \"{\", which is not understood"), "{bad}");
    }

    #[test]
    fn stages_have_words() {
        for stage in [Stage::Begun, Stage::Applied, Stage::Reverting] {
            assert_eq!(Stage::of(stage.as_str()), Some(stage));
        }
        assert_eq!(Stage::of("x"), None);
    }
}
