//! A gRPC service over TLS.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use cutover_tests::certificate::{Authority, Validity};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::installed::Installed;

/// Clients, who call the catalogue one call after the other until they are stopped.
struct Clients {
    calls: tokio::task::JoinHandle<Result<Vec<String>>>,
    stop: tokio::sync::oneshot::Sender<()>,
}

impl Clients {
    fn start(address: SocketAddr) -> Self {
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        let calls = tokio::spawn(async move {
            let mut versions = Vec::new();
            while stopped.try_recv().is_err() {
                versions.push(first_product(address).await?);
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            Ok(versions)
        });
        Self { calls, stop }
    }

    /// The versions that have answered, in order. Fails if a call has failed.
    async fn stop(self) -> Result<Vec<String>> {
        let _ = self.stop.send(());
        self.calls.await?
    }
}

/// Calls `shop.Catalogue/First` through nginx on a connection of its own. Returns the version that has answered.
async fn first_product(address: SocketAddr) -> Result<String> {
    let stream = TokioIo::new(TcpStream::connect(address).await?);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
    let connection = tokio::spawn(connection);
    // An empty message: no compression, four bytes of length.
    let request = Request::post(format!("http://{address}/shop.Catalogue/First"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from_static(&[0; 5])))?;
    let answer = sender.send_request(request).await?;
    let (head, body) = answer.into_parts();
    let body = body.collect().await?;
    let status = body.trailers().and_then(|trailers| trailers.get("grpc-status")).cloned();
    ensure!(status.is_some_and(|status| status == "0"), "{head:?} {body:?}");
    ensure!(body.to_bytes().ends_with(b"\x0a\x03tea"), "another message: {head:?}");
    connection.abort();
    Ok(head.headers.get("x-version").context("no version")?.to_str()?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_service_over_tls_is_deployed() {
    let mut recipe = Installed::new("grpc").unwrap();
    let etc = recipe.path("etc");
    let authority = Authority::make(&etc, "ca").unwrap();
    authority.issue("server", "DNS:shop.example.com", Validity::Days(2)).unwrap();
    // Shorter: a version with a wrong certificate never becomes healthy.
    let deadline =
        |settings: String| settings.replace("kind = \"grpc\"", "kind = \"grpc\"\ndeadline = \"10s\"");
    recipe.start(deadline).await.unwrap();
    recipe.publish("2", &[]).unwrap();
    recipe.publish("3", &[("b\"shop.Catalogue\": 1", "b\"shop.Catalogue\": 2")]).unwrap();
    let address = recipe.address().unwrap();
    let clients = Clients::start(address);

    recipe.deploy("2").await.unwrap().assert_ended("completed", 0).unwrap();
    assert_eq!(first_product(address).await.unwrap(), "2");

    let failed = recipe.deploy("3").await.unwrap();
    failed.assert_ended("failed", 3).unwrap();
    assert!(failed.events.iter().any(|event| event.message.contains("NOT_SERVING")), "{failed:#?}");

    // A certificate of another CA: nginx would not accept it, and the probe does not either.
    Authority::make(&etc, "other")
        .unwrap()
        .issue("server", "DNS:shop.example.com", Validity::Days(2))
        .unwrap();
    recipe.publish("4", &[]).unwrap();
    let failed = recipe.deploy("4").await.unwrap();
    failed.assert_ended("failed", 3).unwrap();
    assert!(failed.events.iter().any(|event| event.message.contains("certificate")), "{failed:#?}");

    assert_eq!(first_product(address).await.unwrap(), "2");
    let versions = clients.stop().await.unwrap();
    println!("{} calls", versions.len());
    let switched = versions.iter().position(|version| version == "2").expect("version 2 to answer");
    assert!(versions[..switched].iter().all(|version| version == "1"), "{versions:?}");
    assert!(versions[switched..].iter().all(|version| version == "2"), "{versions:?}");
}
