//! What a script would drop, as far as it is understood.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A table, or a column of a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Thing {
    /// The table, with its schema if the script names one.
    pub table: String,
    /// The column. `None` is the whole table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
}

/// What a `.down.sql` would drop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// Tables and columns.
    pub things: BTreeSet<Thing>,
    /// A statement that may lose data in another way, or that is not understood.
    pub unclear: Option<String>,
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.column {
            Some(column) => write!(f, "column \"{}.{column}\"", self.table),
            None => write!(f, "table \"{}\"", self.table),
        }
    }
}
