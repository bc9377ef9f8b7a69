//! MariaDB.

use anyhow::{Context, Result, bail};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Params, Row, Value as Stored};
use serde_json::Value;
use tokio::runtime::Handle;

pub(super) fn open(url: &str) -> Result<Conn> {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let socket = query.strip_prefix("socket=").map(str::to_owned);
    let opts = OptsBuilder::from_opts(Opts::from_url(base)?).prefer_socket(false).socket(socket);
    Handle::current().block_on(Conn::new(opts)).context("failed to connect")
}

pub(super) fn rows(connection: &mut Conn, query: &str, values: &[Value]) -> Result<Vec<Vec<Value>>> {
    let values: Vec<Stored> = values
        .iter()
        .map(|value| match value {
            Value::String(text) => text.as_str().into(),
            value => value.as_i64().into(),
        })
        .collect();
    let params = if values.is_empty() { Params::Empty } else { Params::Positional(values) };
    let rows: Vec<Row> = Handle::current().block_on(connection.exec(query, params))?;
    rows.into_iter().map(|row| row.unwrap().into_iter().map(cell).collect()).collect()
}

fn cell(value: Stored) -> Result<Value> {
    Ok(match value {
        Stored::NULL => Value::Null,
        Stored::Int(number) => number.into(),
        Stored::UInt(number) => number.into(),
        Stored::Bytes(bytes) => String::from_utf8_lossy(&bytes).into(),
        other => bail!("a value is {other:?}"),
    })
}
