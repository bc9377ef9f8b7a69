//! Bidirectional gRPC streams: an echo service and its client.

use std::io::Error;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use cutover_tests::ports;
use http_body_util::BodyExt;
use http_body_util::channel::{Channel, Sender};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

const LIMIT: Duration = Duration::from_secs(10);

/// Starts a service on a free port. It sends the head at once, echoes each message, and sends the status at the end. Its
/// answers name `slot`.
pub(crate) async fn serve(slot: &'static str) -> SocketAddr {
    let listener = ports::listen(ports::free().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(move |request: Request<Incoming>| async move {
                let status =
                    HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
                let body = request.into_body().with_trailers(async { Some(Ok(status)) });
                Response::builder()
                    .header("content-type", "application/grpc")
                    .header("x-slot", slot)
                    .body(body)
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

/// One stream on its own connection.
pub(crate) struct Stream {
    to: Sender<Bytes, Error>,
    from: Incoming,
}

impl Stream {
    /// Opens a stream. Also returns the slot that serves it.
    pub(crate) async fn open(address: SocketAddr) -> (String, Self) {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut connection, driver) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(driver);
        let (to, body) = Channel::new(1);
        let request = Request::post("http://shop.test/shop.Chat/Talk")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(body)
            .unwrap();
        let answer = tokio::time::timeout(LIMIT, connection.send_request(request)).await.unwrap().unwrap();
        assert_eq!(answer.status(), 200);
        let slot = answer.headers().get("x-slot").unwrap().to_str().unwrap().to_owned();
        (slot, Self { to, from: answer.into_body() })
    }

    /// Sends a message and waits for its echo.
    pub(crate) async fn say(&mut self, text: &str) {
        self.to.send_data(Bytes::copy_from_slice(text.as_bytes())).await.unwrap();
        let mut heard = Vec::new();
        while heard.len() < text.len() {
            let frame = tokio::time::timeout(LIMIT, self.from.frame()).await.unwrap().unwrap().unwrap();
            heard.extend(frame.into_data().unwrap());
        }
        assert_eq!(heard, text.as_bytes());
    }

    /// Ends the request and asserts that the status is 0.
    pub(crate) async fn end(self) {
        drop(self.to);
        let rest = tokio::time::timeout(LIMIT, self.from.collect()).await.unwrap().unwrap();
        assert_eq!(rest.trailers().unwrap().get("grpc-status").unwrap(), "0");
    }

    /// Cancels the call with `RST_STREAM`.
    pub(crate) fn cancel(self) {
        self.to.abort(Error::other("not wanted any more"));
    }
}
