//! One of the databases that a deployment migrates, for tests that are the same for all.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rusqlite::{Connection, types::Value};

use crate::temp::TempDir;
use crate::{Mariadb, Postgres, wait};

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseKind {
    /// A file.
    Sqlite,
    /// A server.
    Postgres,
    /// A server.
    Mariadb,
}

/// A database with nothing in it. Drop ends its server.
#[derive(Debug)]
pub enum Database {
    /// A file in a folder.
    Sqlite(TempDir, PathBuf),
    /// A server.
    Postgres(Box<Postgres>),
    /// A server.
    Mariadb(Box<Mariadb>),
}

/// A session that holds a lock of a table. Drop ends it.
#[derive(Debug)]
pub enum Holder {
    /// A transaction in this process.
    Here(Connection),
    /// A client of the server's package.
    Client(Child),
}

impl DatabaseKind {
    /// All.
    pub const ALL: [Self; 3] = [Self::Sqlite, Self::Postgres, Self::Mariadb];

    /// Its name in folders and options.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::Mariadb => "mariadb",
        }
    }
}

impl Database {
    /// Starts one.
    pub async fn start(kind: DatabaseKind) -> Result<Self> {
        Self::start_in(kind, None).await
    }

    /// The same with its data in a folder of the caller's.
    pub async fn start_in(kind: DatabaseKind, data: Option<&Path>) -> Result<Self> {
        Ok(match kind {
            DatabaseKind::Sqlite => {
                let folder = TempDir::new()?;
                let file = data.unwrap_or(folder.path()).join("shop.sqlite");
                Connection::open(&file)?.execute_batch("PRAGMA user_version = 1")?;
                Self::Sqlite(folder, file)
            }
            DatabaseKind::Postgres => Self::Postgres(Box::new(Postgres::start_in(data).await?)),
            DatabaseKind::Mariadb => Self::Mariadb(Box::new(Mariadb::start_in(data).await?)),
        })
    }

    /// Its URL.
    pub fn url(&self) -> String {
        match self {
            Self::Sqlite(_, file) => format!("sqlite:{}", file.display()),
            Self::Postgres(server) => server.url(),
            Self::Mariadb(server) => server.url(),
        }
    }

    /// Its URL at a relay. A file has none.
    pub fn url_at(&self, address: SocketAddr) -> Result<String> {
        match self {
            Self::Sqlite(..) => bail!("SQLite has no address"),
            Self::Postgres(server) => Ok(server.url_at(address)),
            Self::Mariadb(server) => Ok(server.url_at(address)),
        }
    }

    /// Where a server listens.
    pub fn address(&self) -> Result<SocketAddr> {
        match self {
            Self::Sqlite(..) => bail!("SQLite has no address"),
            Self::Postgres(server) => Ok(server.address()),
            Self::Mariadb(server) => Ok(server.address()),
        }
    }

    /// Runs SQL. Returns the values of the rows: columns separated by "|", rows by line breaks.
    pub fn query(&self, sql: &str) -> Result<String> {
        match self {
            Self::Sqlite(..) => {
                let connection = self.open()?;
                let mut statement = connection.prepare(sql)?;
                let width = statement.column_count();
                if width == 0 {
                    drop(statement);
                    connection.execute_batch(sql)?;
                    return Ok(String::new());
                }
                let rows = statement.query_map([], |row| {
                    let values = (0..width).map(|column| Ok(shown(row.get(column)?)));
                    Ok(values.collect::<rusqlite::Result<Vec<_>>>()?.join("|"))
                })?;
                Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?.join("\n"))
            }
            Self::Postgres(server) => server.query(sql),
            Self::Mariadb(server) => Ok(server.query(sql)?.replace('\t', "|")),
        }
    }

    /// Kills the server, if there is one, and starts it again.
    pub async fn kill_and_resume(&mut self) -> Result<()> {
        match self {
            Self::Sqlite(..) => Ok(()),
            Self::Postgres(server) => {
                server.kill()?;
                server.resume().await
            }
            Self::Mariadb(server) => {
                server.kill()?;
                server.resume().await
            }
        }
    }

    /// Keeps a lock of the migrations, as another program would, until the holder is dropped.
    pub async fn hold_lock(&self) -> Result<Holder> {
        match self {
            Self::Sqlite(..) => {
                let connection = self.open()?;
                connection.execute_batch("BEGIN IMMEDIATE")?;
                Ok(Holder::Here(connection))
            }
            // Idle sessions, which end with their clients.
            Self::Postgres(server) => {
                let child = hold(&mut server.psql(), "SELECT pg_advisory_lock(27995165641041266);\n")?;
                let is_held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted";
                self.until(is_held, "1").await?;
                Ok(Holder::Client(child))
            }
            Self::Mariadb(server) => {
                let name = "concat('cutover:', left(sha1(database()), 40))";
                let child = hold(&mut server.client(), &format!("SELECT get_lock({name}, 1);\n"))?;
                self.until(&format!("SELECT is_used_lock({name}) IS NOT NULL"), "1").await?;
                Ok(Holder::Client(child))
            }
        }
    }

    /// Waits until a query has this result.
    pub async fn until(&self, sql: &str, expected: &str) -> Result<()> {
        wait::until_within(Duration::from_secs(20), &format!("{sql}: {expected}"), || {
            self.query(sql).is_ok_and(|found| found == expected)
        })
        .await
    }

    fn open(&self) -> Result<Connection> {
        let Self::Sqlite(_, file) = self else { bail!("not a file") };
        let connection =
            Connection::open(file).with_context(|| format!("failed to open {}", file.display()))?;
        connection.busy_timeout(Duration::from_secs(5))?;
        Ok(connection)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        if let Self::Client(child) = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts a client that runs SQL and then waits for more.
fn hold(command: &mut Command, sql: &str) -> Result<Child> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    child.stdin.as_mut().context("no standard input")?.write_all(sql.as_bytes())?;
    Ok(child)
}

fn shown(value: Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) => text,
        Value::Blob(bytes) => format!("{bytes:02x?}"),
    }
}
