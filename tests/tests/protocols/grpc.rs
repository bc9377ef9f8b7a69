//! HTTP/2 on both sides: a client, and a server that answers as a gRPC service does.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};

/// An HTTP/2 connection; clones share it.
pub(crate) async fn connect(address: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// One request; the slot that answered it, by its header. A gRPC call must end with its status in the trailers.
pub(crate) async fn ask(mut connection: SendRequest<Full<Bytes>>, content_type: &'static str) -> String {
    let request = Request::post("http://shop.test/shop.Catalogue/List")
        .header("content-type", content_type)
        .header("te", "trailers")
        .body(Full::new(Bytes::from_static(b"\0\0\0\0\0")))
        .unwrap();
    let answer = connection.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let slot = answer.headers().get("x-slot").unwrap().to_str().unwrap().to_owned();
    let body = answer.into_body().collect().await.unwrap();
    if content_type == "application/grpc" {
        assert_eq!(body.trailers().unwrap().get("grpc-status").unwrap(), "0");
    }
    slot
}

/// A gRPC service on a free port whose answers name `slot`.
pub(crate) async fn serve(slot: &'static str) -> SocketAddr {
    let address = cutover_tests::ports::free().unwrap();
    let listener = TcpListener::bind(address).await.unwrap();
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
