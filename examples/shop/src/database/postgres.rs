//! PostgreSQL.

use std::collections::HashMap;

use anyhow::{Result, bail};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, NoTls, Row, Statement};

/// A connection, and the statements that it has prepared.
pub(crate) struct Connection {
    client: Client,
    prepared: HashMap<String, Statement>,
}

pub(super) fn open(url: &str) -> Result<Connection> {
    Handle::current().block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        // It ends with the client.
        tokio::spawn(connection);
        Ok(Connection { client, prepared: HashMap::new() })
    })
}

pub(super) fn rows(connection: &mut Connection, query: &str, values: &[Value]) -> Result<Vec<Vec<Value>>> {
    let values: Vec<Box<dyn ToSql + Sync + Send>> = values
        .iter()
        .map(|value| -> Box<dyn ToSql + Sync + Send> {
            match value {
                Value::String(text) => Box::new(text.clone()),
                value => Box::new(value.as_i64()),
            }
        })
        .collect();
    let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| &**value as _).collect();
    let Connection { client, prepared } = connection;
    let rows = Handle::current().block_on(async {
        if let Some(statement) = prepared.get(query) {
            return client.query(statement, &values).await;
        }
        let statement = client.prepare(&numbered(query)).await?;
        let rows = client.query(&statement, &values).await;
        prepared.insert(query.to_owned(), statement);
        rows
    })?;
    rows.iter().map(cells).collect()
}

fn cells(row: &Row) -> Result<Vec<Value>> {
    let cell = |(index, column): (usize, &tokio_postgres::Column)| {
        Ok(match *column.type_() {
            Type::INT8 => row.try_get::<_, Option<i64>>(index)?.into(),
            Type::INT4 => row.try_get::<_, Option<i32>>(index)?.into(),
            Type::TEXT | Type::VARCHAR => row.try_get::<_, Option<String>>(index)?.into(),
            ref other => bail!("column {} has the type {other}", column.name()),
        })
    };
    row.columns().iter().enumerate().map(cell).collect()
}

/// The query with `$1` for the first `?`, and so on.
fn numbered(query: &str) -> String {
    let mut parts = query.split('?');
    let mut numbered = parts.next().unwrap_or_default().to_owned();
    for (index, part) in parts.enumerate() {
        numbered.push_str(&format!("${}{part}", index + 1));
    }
    numbered
}

#[cfg(test)]
mod tests {
    #[test]
    fn placeholders_are_numbered() {
        assert_eq!(super::numbered("a = ? AND b = ?"), "a = $1 AND b = $2");
        assert_eq!(super::numbered("a"), "a");
    }
}
