//! The database and the few connections to it that all requests share: a file of SQLite, or a server by its URL.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use tokio::sync::Semaphore;

mod mariadb;
mod postgres;
mod sqlite;

pub(crate) use sqlite::open as open_file;

const CONNECTIONS: usize = 4;

/// How long a request waits for a connection before it gives up: of a file, and of a server.
const PATIENCE: Duration = Duration::from_millis(100);
const PATIENCE_WITH_SERVER: Duration = Duration::from_millis(400);

/// A connection.
pub(crate) enum Connection {
    Sqlite(rusqlite::Connection),
    Postgres(postgres::Connection),
    Mariadb(mysql_async::Conn),
}

impl Connection {
    /// Opens a database: a path, `sqlite:PATH`, `postgres://..`, `mysql://..`, or a file with one of these, `file:PATH`. Blocks.
    pub(crate) fn open(database: &str) -> Result<Self> {
        match database.split_once(':') {
            Some(("file", path)) => Self::open(std::fs::read_to_string(path)?.trim()),
            Some(("postgres", _)) => postgres::open(database).map(Self::Postgres),
            Some(("mysql" | "mariadb", rest)) => mariadb::open(&format!("mysql:{rest}")).map(Self::Mariadb),
            Some(("sqlite", path)) => open_file(path.as_ref()).map(Self::Sqlite),
            _ => open_file(database.as_ref()).map(Self::Sqlite),
        }
    }

    /// The rows of a query. Its values are at each `?`, numbers or texts. Blocks.
    pub(crate) fn rows(&mut self, query: &str, values: &[Value]) -> Result<Vec<Vec<Value>>> {
        match self {
            Self::Sqlite(connection) => sqlite::rows(connection, query, values),
            Self::Postgres(client) => postgres::rows(client, query, values),
            Self::Mariadb(connection) => mariadb::rows(connection, query, values),
        }
    }
}

/// A pool of connections.
pub(crate) struct Pool {
    free: Mutex<Vec<Connection>>,
    permits: Semaphore,
    patience: Duration,
}

/// No connection came free in time.
#[derive(Debug)]
pub(crate) struct Exhausted;

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl Pool {
    pub(crate) fn open(database: &str) -> Result<Self> {
        let free: Vec<Connection> =
            (0..CONNECTIONS).map(|_| Connection::open(database)).collect::<Result<_>>()?;
        let patience = match free.first() {
            Some(Connection::Sqlite(_)) | None => PATIENCE,
            Some(_) => PATIENCE_WITH_SERVER,
        };
        Ok(Self { free: Mutex::new(free), permits: Semaphore::new(CONNECTIONS), patience })
    }

    /// Runs `query` on a connection of the pool. With `leak` the connection never comes back.
    pub(crate) async fn run<T>(
        &self,
        leak: bool,
        query: impl FnOnce(&mut Connection) -> T,
    ) -> Result<T, Exhausted> {
        let permit = tokio::time::timeout(self.patience, self.permits.acquire()).await;
        let Ok(Ok(permit)) = permit else { return Err(Exhausted) };
        let taken = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some(mut connection) = taken else { return Err(Exhausted) };
        let answer = tokio::task::block_in_place(|| query(&mut connection));
        if leak {
            permit.forget();
        } else {
            self.free.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
        Ok(answer)
    }
}
