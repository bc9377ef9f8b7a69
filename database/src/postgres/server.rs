//! The connection with a PostgreSQL server. When it is dropped, the server ends the statement that runs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{CancelToken, Client, Config, NoTls, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::DatabaseError;
use crate::tls;
use crate::url::{Limits, Url};

/// How long the server may take to end a statement, or to roll back.
const GRACE: Duration = Duration::from_secs(5);
/// Time between two requests to end a statement: the first one may be there before the statement.
const PAUSE: Duration = Duration::from_millis(200);

/// A connection.
pub(super) struct Server {
    client: Client,
    limits: Limits,
    tls: Option<MakeRustlsConnect>,
    /// What reads and writes the socket. `None` only while this is dropped.
    connection: Option<JoinHandle<()>>,
    /// Whether a statement runs. If nobody waits for it any more, it must end.
    runs: AtomicBool,
}

impl Server {
    pub(super) async fn connect(url: &Url, limits: Limits, who: &str) -> Result<Self, DatabaseError> {
        let mut config: Config = url.secret().parse().map_err(|error| url.refused_by_driver(error))?;
        config.application_name(format!("cutover {who}")).connect_timeout(GRACE);
        let failed = |why: String| DatabaseError::Connect { url: url.to_string(), why };
        let tls = match url.tls().required {
            true => Some(MakeRustlsConnect::new(tls::client(url.tls()).map_err(failed)?)),
            false => None,
        };
        let (client, connection) = match &tls {
            Some(tls) => {
                config.ssl_mode(SslMode::Require);
                let connecting = config.connect(tls.clone()).await;
                let (client, connection) = connecting.map_err(|error| failed(text(&error)))?;
                (client, tokio::spawn(until_closed(connection)))
            }
            None => {
                config.ssl_mode(SslMode::Disable);
                let connecting = config.connect(NoTls).await;
                let (client, connection) = connecting.map_err(|error| failed(text(&error)))?;
                (client, tokio::spawn(until_closed(connection)))
            }
        };
        Ok(Self { client, limits, tls, connection: Some(connection), runs: AtomicBool::new(false) })
    }

    /// Runs statements, several as one message.
    pub(super) async fn batch(&self, text: &str) -> Result<(), DatabaseError> {
        self.running(self.client.batch_execute(text)).await
    }

    pub(super) async fn execute(
        &self,
        query: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, DatabaseError> {
        self.running(self.client.execute(query, values)).await
    }

    pub(super) async fn query(
        &self,
        query: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, DatabaseError> {
        self.running(self.client.query(query, values)).await
    }

    /// Runs a text of the operator's, within the limit of a migration.
    pub(super) async fn script(&self, text: &str) -> Result<(), DatabaseError> {
        let limit = self.limits.migration;
        match tokio::time::timeout(limit, self.batch(text)).await {
            Ok(done) => done,
            Err(_) => {
                let _ =
                    tokio::time::timeout(GRACE, cancel(self.client.cancel_token(), self.tls.clone())).await;
                Err(DatabaseError::TooLong(limit, String::new()))
            }
        }
    }

    /// Ends a transaction without its changes. Returns whether the server has answered. If not, it ends with the connection.
    pub(super) async fn roll_back(&self) -> bool {
        match tokio::time::timeout(GRACE, self.batch("ROLLBACK")).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::warn!(%error, "failed to roll back; the transaction ends with the connection");
                false
            }
            Err(_) => {
                tracing::warn!("the server does not roll back; the transaction ends with the connection");
                false
            }
        }
    }

    pub(super) fn error(&self, error: &tokio_postgres::Error) -> DatabaseError {
        let Some(said) = error.as_db_error() else {
            return match error.is_closed()
                || std::error::Error::source(error).is_some_and(|why| why.is::<std::io::Error>())
            {
                true => DatabaseError::Lost(text(error)),
                false => DatabaseError::Statement(text(error)),
            };
        };
        let code = said.code();
        match code {
            &SqlState::LOCK_NOT_AVAILABLE => {
                DatabaseError::Locked { by: String::new(), waited: self.limits.lock }
            }
            &SqlState::QUERY_CANCELED => DatabaseError::TooLong(self.limits.migration, String::new()),
            &SqlState::ADMIN_SHUTDOWN | &SqlState::CRASH_SHUTDOWN | &SqlState::CANNOT_CONNECT_NOW => {
                DatabaseError::Lost(text(error))
            }
            _ => DatabaseError::Statement(text(error)),
        }
    }

    async fn running<T>(
        &self,
        statement: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, DatabaseError> {
        self.runs.store(true, Ordering::Relaxed);
        let done = statement.await;
        self.runs.store(false, Ordering::Relaxed);
        done.map_err(|error| self.error(&error))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Without a runtime the process ends, and the connection with it.
        let (Some(mut connection), Ok(runtime)) = (self.connection.take(), Handle::try_current()) else {
            return;
        };
        let runs = self.runs.load(Ordering::Relaxed);
        let (token, tls) = (self.client.cancel_token(), self.tls.clone());
        runtime.spawn(async move {
            // The connection closes when the server has answered its last statement.
            let closed = async {
                loop {
                    if runs {
                        let _ = cancel(token.clone(), tls.clone()).await;
                    }
                    if tokio::time::timeout(PAUSE, &mut connection).await.is_ok() {
                        return;
                    }
                }
            };
            if tokio::time::timeout(GRACE, closed).await.is_err() {
                connection.abort();
            }
        });
    }
}

async fn cancel(token: CancelToken, tls: Option<MakeRustlsConnect>) -> Result<(), tokio_postgres::Error> {
    match tls {
        Some(tls) => token.cancel_query(tls).await,
        None => token.cancel_query(NoTls).await,
    }
}

async fn until_closed<S, T>(connection: tokio_postgres::Connection<S, T>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    // The client learns it, too.
    let _ = connection.await;
}

/// The server's message with its code, or the error with its reason.
fn text(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(said) => {
            let detail = said.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
            format!("{}{detail} (SQLSTATE {})", said.message(), said.code().code())
        }
        None => match std::error::Error::source(error) {
            Some(why) => format!("{error}: {why}"),
            None => error.to_string(),
        },
    }
}
