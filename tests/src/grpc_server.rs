//! A gRPC server with the health service of tonic, over HTTP/2 without TLS.

use std::net::SocketAddr;

use anyhow::Result;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::{JoinHandle, JoinSet};
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, health_reporter};
use tower::Service;

use crate::ports;

/// The server. Every call but those of the health service is answered `UNIMPLEMENTED`. Stops on drop.
pub struct GrpcServer {
    address: SocketAddr,
    reporter: HealthReporter,
    task: JoinHandle<()>,
}

impl GrpcServer {
    /// Starts a server on a free loopback port. The whole server is SERVING.
    pub async fn start() -> Result<Self> {
        let (reporter, service) = health_reporter();
        let address = ports::free()?;
        let listener = ports::listen(address).await?;
        let task = tokio::spawn(async move {
            // Aborting this task drops the set, which aborts the connections.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let service = service.clone();
                let service = service_fn(move |request| service.clone().call(request));
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                connections.spawn(server.serve_connection(TokioIo::new(stream), service));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, reporter, task })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the health of a service, or of the whole server with an empty name.
    pub async fn set(&self, service: &str, is_serving: bool) {
        let status = if is_serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.reporter.set_service_status(service, status).await;
    }
}

impl Drop for GrpcServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
