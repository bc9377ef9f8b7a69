//! What is in the tables and columns of a file.

use std::collections::BTreeSet;

use cutover_core::migration::{Measure, Rows, Thing};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use xxhash_rust::xxh3::xxh3_64;

use crate::request::{is_expression, quoted};

/// Counts and sums what is in tables and columns. Those that are not there are left out.
pub(super) fn measure(connection: &Connection, things: &BTreeSet<Thing>) -> rusqlite::Result<Rows> {
    let mut all = Vec::new();
    for thing in things {
        let name = thing.table.rsplit('.').next().unwrap_or_default();
        let columns = "SELECT name, dflt_value FROM pragma_table_info(?1)";
        let mut statement = connection.prepare(columns)?;
        let columns: Vec<(String, Option<String>)> =
            statement.query_map([name], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
        let table = quoted(&thing.table, '"');
        let query = match &thing.column {
            None if columns.is_empty() => continue,
            None => format!("SELECT * FROM {table}"),
            Some(column) => {
                let its = columns.iter().find(|(name, _)| name.eq_ignore_ascii_case(column));
                let Some((column, default)) = its else { continue };
                let default = default.as_deref().filter(|default| !is_expression(default)).unwrap_or("NULL");
                let column = quoted(column, '"');
                format!("SELECT {column} FROM {table} WHERE {column} IS NOT ({default})")
            }
        };
        let (rows, sum) = summed(connection, &query)?;
        all.push(Measure { thing: thing.clone(), rows, sum: sum.to_string(), was_there: false });
    }
    Ok(Rows(all))
}

/// The number of rows, and a sum over their values.
fn summed(connection: &Connection, query: &str) -> rusqlite::Result<(u64, u128)> {
    let mut statement = connection.prepare(query)?;
    let width = statement.column_count();
    let (mut number, mut sum, mut bytes) = (0, 0u128, Vec::new());
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        bytes.clear();
        for column in 0..width {
            let value = row.get_ref(column)?;
            let (kind, content) = match value {
                ValueRef::Null => (0, Vec::new()),
                ValueRef::Integer(number) => (1, number.to_le_bytes().to_vec()),
                ValueRef::Real(number) => (2, number.to_le_bytes().to_vec()),
                ValueRef::Text(text) => (3, text.to_vec()),
                ValueRef::Blob(blob) => (4, blob.to_vec()),
            };
            bytes.push(kind);
            bytes.extend(content.len().to_le_bytes());
            bytes.extend(content);
        }
        number += 1;
        sum = sum.wrapping_add(u128::from(xxh3_64(&bytes)));
    }
    Ok((number, sum))
}
