//! SQLite.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rusqlite::types::{Value as Stored, ValueRef};
use rusqlite::{Connection, params_from_iter};
use serde_json::Value;

/// Opens the database file; creates it when it does not exist.
pub(crate) fn open(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path).with_context(|| format!("failed to open {}", path.display()))?;
    // Before the first statement that may meet another process's lock.
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(connection)
}

pub(super) fn rows(connection: &Connection, query: &str, values: &[Value]) -> Result<Vec<Vec<Value>>> {
    let mut statement = connection.prepare_cached(query)?;
    let width = statement.column_count();
    let values = values.iter().map(|value| match value {
        Value::String(text) => Stored::Text(text.clone()),
        value => value.as_i64().map_or(Stored::Null, Stored::Integer),
    });
    let rows = statement.query_map(params_from_iter(values), |row| {
        (0..width)
            .map(|column| {
                Ok(match row.get_ref(column)? {
                    ValueRef::Integer(number) => number.into(),
                    ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
                    _ => Value::Null,
                })
            })
            .collect()
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
