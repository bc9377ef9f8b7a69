//! `shop serve`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::database::Pool;
use crate::fault::Fault;
use crate::migrations;
use crate::routes::router;
use crate::shop::Shop;
use crate::trouble::Trouble;

/// How long requests that are under way may take after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

/// Which release to run, and where.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// The database: a file of SQLite, the URL of PostgreSQL or MariaDB, or file:PATH with one of these.
    #[arg(long)]
    database: String,
    /// The release's version, as answers name it.
    #[arg(long, env = "CUTOVER_VERSION", default_value = env!("CARGO_PKG_VERSION"))]
    version: String,
    /// The slot it runs in, as answers name it.
    #[arg(long, env = "CUTOVER_SLOT", default_value = "")]
    slot: String,
    /// The schema version the release was written for.
    #[arg(long, default_value_t = migrations::LATEST)]
    schema: u32,
    /// The least time of an answer, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    takes_ms: u64,
    /// What is wrong with the release: never-ready, bad-catalogue, errors-after=N, exit-after=N, errors=N%, hangs=N%,
    /// not-found, slower=N.
    #[arg(long)]
    fault: Option<Fault>,
}

impl Serve {
    pub(crate) fn run(self) -> Result<()> {
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(self.serve())
    }

    async fn serve(self) -> Result<()> {
        let shop = Arc::new(Shop {
            pool: tokio::task::block_in_place(|| Pool::open(&self.database))?,
            slot: self.slot,
            version: self.version,
            schema: self.schema,
            database: self.database,
            takes_ms: self.takes_ms,
            trouble: Trouble::new(self.fault),
        });
        let mut terminated = signal(SignalKind::terminate())?;
        let listener = TcpListener::bind(self.listen)
            .await
            .with_context(|| format!("failed to listen on {}", self.listen))?;
        println!("shop {} listens on {}", shop.version, self.listen);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let server = axum::serve(listener, router(shop)).with_graceful_shutdown(async {
            let _ = stopped.await;
        });
        let server = tokio::spawn(server.into_future());
        terminated.recv().await;
        println!("finishing what is under way");
        let _ = stop.send(());
        match tokio::time::timeout(GRACE, server).await {
            Ok(ended) => ended?.context("failed to serve"),
            Err(_) => anyhow::bail!("requests were still under way after {GRACE:?}"),
        }
    }
}
