//! An HTTP/2 client, and a minimal gRPC service.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use cutover_tests::ports;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// Opens an HTTP/2 connection; clones share it.
pub(crate) async fn connect(address: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// Sends one request and returns the slot in the answer's header. A gRPC call must end with status 0 in the trailers.
pub(crate) async fn ask(connection: SendRequest<Full<Bytes>>, content_type: &'static str) -> String {
    let request = request("/shop.Catalogue/List", content_type, b"\0\0\0\0\0");
    let answer = answer_to(connection, request).await.unwrap();
    assert_eq!(answer.status, 200);
    if content_type == "application/grpc" {
        assert_eq!(answer.grpc_status.as_deref(), Some("0"));
    }
    answer.slot
}

/// The answer to a request.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The gRPC status, from the trailers or the head.
    pub(crate) grpc_status: Option<String>,
    /// The slot that answered; empty when nginx generated the answer.
    pub(crate) slot: String,
    pub(crate) message: Bytes,
}

/// Makes one gRPC call. Fails when the answer breaks off.
pub(crate) async fn call(
    connection: &SendRequest<Full<Bytes>>,
    path: &str,
    message: &[u8],
) -> Result<Answer, hyper::Error> {
    answer_to(connection.clone(), request(path, "application/grpc", message)).await
}

pub(crate) fn request(path: &str, content_type: &str, message: &[u8]) -> Request<Full<Bytes>> {
    Request::post(format!("http://shop.test{path}"))
        .header("content-type", content_type)
        .header("te", "trailers")
        .body(Full::new(Bytes::copy_from_slice(message)))
        .unwrap()
}

async fn answer_to(
    mut connection: SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<Answer, hyper::Error> {
    let (head, body) = connection.send_request(request).await?.into_parts();
    let body = body.collect().await?;
    let text = |headers: &HeaderMap, name| Some(headers.get(name)?.to_str().unwrap().to_owned());
    let in_trailers = body.trailers().and_then(|trailers| text(trailers, "grpc-status"));
    Ok(Answer {
        status: head.status.as_u16(),
        grpc_status: in_trailers.or_else(|| text(&head.headers, "grpc-status")),
        slot: text(&head.headers, "x-slot").unwrap_or_default(),
        message: body.to_bytes(),
    })
}

/// Starts a gRPC service on a free port; its answers name `slot`.
pub(crate) async fn serve(slot: &'static str) -> SocketAddr {
    let address = ports::free().unwrap();
    let listener = ports::listen(address).await.unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(move |request| answer(slot, request));
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

type Body = http_body_util::combinators::BoxBody<Bytes, Infallible>;

async fn answer(slot: &'static str, request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    let message = request.into_body().collect().await?.to_bytes();
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
    let body = Full::new(message).with_trailers(async { Some(Ok(trailers)) }).boxed();
    let answer = Response::builder().header("content-type", "application/grpc").header("x-slot", slot);
    Ok(answer.body(body).unwrap())
}
