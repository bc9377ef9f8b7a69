//! The schema of the database, read from the file and not from the shop.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use rusqlite::{Connection, OpenFlags};

use crate::Database;

const COLUMNS: &str = "SELECT tables.name || '.' || columns.name || ' ' || columns.type
    FROM sqlite_master AS tables, pragma_table_info(tables.name) AS columns WHERE tables.type = 'table'";

/// All columns of all tables, and the newest migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// The newest migration in `schema_migrations`.
    pub version: u32,
    columns: BTreeSet<String>,
}

impl Schema {
    /// Reads it from the file.
    pub fn read(database: &Path) -> Result<Self> {
        let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)
            .with_context(|| format!("failed to open {}", database.display()))?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        let mut statement = connection.prepare(COLUMNS)?;
        let columns = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let version =
            connection.query_row("SELECT max(version) FROM schema_migrations", [], |row| row.get(0))?;
        Ok(Self { version, columns })
    }

    /// Reads it from a database that cutover migrates.
    pub fn of(database: &Database) -> Result<Self> {
        let columns = match database {
            Database::Sqlite(..) => COLUMNS,
            Database::Postgres(_) => {
                "SELECT table_name || '.' || column_name || ' ' || data_type FROM information_schema.columns
                 WHERE table_schema = 'public'"
            }
            Database::Mariadb(_) => {
                "SELECT concat(table_name, '.', column_name, ' ', data_type) FROM information_schema.columns
                 WHERE table_schema = database()"
            }
        };
        let version = database.query("SELECT max(number) FROM cutover_migrations")?;
        let version = version.parse().with_context(|| format!("the schema is at version {version:?}"))?;
        Ok(Self { version, columns: database.query(columns)?.lines().map(str::to_owned).collect() })
    }

    /// The tables of a file; none if there is no file.
    pub fn tables(database: &Path) -> Result<Vec<String>> {
        if !database.exists() {
            return Ok(Vec::new());
        }
        let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        let mut statement = connection.prepare("SELECT name FROM sqlite_master WHERE type = 'table'")?;
        Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
    }

    /// The columns that `self` has and `other` does not, as text.
    pub fn beyond(&self, other: &Self) -> String {
        self.columns.difference(&other.columns).cloned().collect::<Vec<_>>().join(", ")
    }
}
