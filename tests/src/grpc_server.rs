//! A gRPC server with the health service of tonic, over HTTP/2 without TLS.

use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::Result;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::{JoinHandle, JoinSet};
use tonic::body::Body;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, health_reporter};
use tower::Service;

use crate::ports;

/// The paths of the health service.
const HEALTH: &str = "/grpc.health.v1.Health/";

/// The server. Stops on drop.
pub struct GrpcServer {
    address: SocketAddr,
    reporter: HealthReporter,
    task: JoinHandle<()>,
}

impl GrpcServer {
    /// Starts a server on a free loopback port. The whole server is SERVING. Every call but those of the health service is answered
    /// `UNIMPLEMENTED`.
    pub async fn start() -> Result<Self> {
        Self::start_with(ports::free()?, None).await
    }

    /// Starts a server at this address. Every call but those of the health service is answered with its own message and the header
    /// `x-slot`.
    pub async fn start_at(slot: &str, address: SocketAddr) -> Result<Self> {
        Self::start_with(address, Some(HeaderValue::from_str(slot)?)).await
    }

    async fn start_with(address: SocketAddr, slot: Option<HeaderValue>) -> Result<Self> {
        let (reporter, service) = health_reporter();
        let listener = ports::listen(address).await?;
        let task = tokio::spawn(async move {
            // Aborting this task drops the set, which aborts the connections.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (service, slot) = (service.clone(), slot.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (mut service, slot) = (service.clone(), slot.clone());
                    async move {
                        match slot {
                            Some(slot) if !request.uri().path().starts_with(HEALTH) => {
                                echo(request, slot).await
                            }
                            _ => Ok(service.call(request).await?.map(Body::new)),
                        }
                    }
                });
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

/// The answer with the message of the call, and status 0 in the trailers.
async fn echo(request: Request<Incoming>, slot: HeaderValue) -> Result<Response<Body>> {
    let message = request.into_body().collect().await?.to_bytes();
    let trailers =
        HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
    let body = Full::new(message).with_trailers(async { Some(Ok::<_, Infallible>(trailers)) });
    let mut answer = Response::new(Body::new(body));
    answer.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    answer.headers_mut().insert("x-slot", slot);
    Ok(answer)
}

impl Drop for GrpcServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
