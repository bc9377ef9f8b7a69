//! The HTTP server of the operator: for the probes of the kubelet, and for Prometheus.
//!
//! ```text
//! /healthz  200: the process answers
//! /readyz   200: the API server answers, and this operator may list BlueGreens; else 503 with the reason
//! /metrics  the page for Prometheus
//! /v1/..    verdicts for Argo Rollouts and Flagger
//! ```
//!
//! An operator that waits for the Lease is ready, too. Nothing here changes anything.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::net::TcpListener;

use crate::edge::told;
use crate::metrics::{NotRecorded, Page};
use crate::resource::BlueGreen;
use crate::verdicts;

/// How long the API server may take to answer. The kubelet waits for a second by default; the chart says 5.
const LIMIT: Duration = Duration::from_secs(3);

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be used.
    #[error(
        "--listen {address}: {source}; use an address of this machine and a free port, as in 0.0.0.0:8080"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// There can be no metrics.
    #[error("the metrics cannot be recorded: {0}")]
    Recorder(#[from] NotRecorded),
}

/// What the answers need.
#[derive(Clone)]
struct Served {
    client: Client,
    /// The namespace that is watched; all if absent.
    namespace: Option<String>,
    page: Page,
}

/// Serves until the process ends. Returns the address once requests are accepted.
pub async fn serve(
    address: SocketAddr,
    client: Client,
    namespace: Option<String>,
) -> Result<SocketAddr, ServeError> {
    let failed = |source| ServeError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(page))
        .with_state(Served { client: client.clone(), namespace, page: Page::install()? })
        .merge(verdicts::router(client));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the HTTP server has stopped");
        }
    });
    Ok(bound)
}

async fn ready(State(served): State<Served>) -> (StatusCode, String) {
    let api: Api<BlueGreen> = match &served.namespace {
        Some(namespace) => Api::namespaced(served.client, namespace),
        None => Api::all(served.client),
    };
    let one = ListParams::default().limit(1);
    match tokio::time::timeout(LIMIT, api.list(&one)).await {
        Ok(Ok(_)) => (StatusCode::OK, "ok\n".to_owned()),
        Ok(Err(error)) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("BlueGreens cannot be listed: {}\n", told(&error)))
        }
        Err(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("the API server has not answered within {}\n", humantime::format_duration(LIMIT)),
        ),
    }
}

async fn page(State(served): State<Served>) -> ([(&'static str, &'static str); 1], String) {
    ([("content-type", "text/plain; version=0.0.4")], served.page.render())
}
