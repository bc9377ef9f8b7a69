//! The database and the few connections to it that all requests share.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use rusqlite::Connection;
use tokio::sync::Semaphore;

const CONNECTIONS: usize = 4;

/// How long a request waits for a connection before it gives up.
const PATIENCE: Duration = Duration::from_millis(100);

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

/// A pool of connections.
#[derive(Debug)]
pub(crate) struct Pool {
    free: Mutex<Vec<Connection>>,
    permits: Semaphore,
}

/// No connection came free in time.
#[derive(Debug)]
pub(crate) struct Exhausted;

impl Pool {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let free = (0..CONNECTIONS).map(|_| open(path)).collect::<Result<_>>()?;
        Ok(Self { free: Mutex::new(free), permits: Semaphore::new(CONNECTIONS) })
    }

    /// Runs `query` on a connection of the pool. With `leak` the connection never comes back.
    pub(crate) async fn run<T>(
        &self,
        leak: bool,
        query: impl FnOnce(&Connection) -> T,
    ) -> Result<T, Exhausted> {
        let permit = tokio::time::timeout(PATIENCE, self.permits.acquire()).await;
        let Ok(Ok(permit)) = permit else { return Err(Exhausted) };
        let taken = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some(connection) = taken else { return Err(Exhausted) };
        let answer = tokio::task::block_in_place(|| query(&connection));
        if leak {
            permit.forget();
        } else {
            self.free.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
        Ok(answer)
    }
}
