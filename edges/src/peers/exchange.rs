//! One request over HTTP/1.1 or HTTP/2.

use std::error::Error;

use bytes::Bytes;
use cutover_core::smoke::Answer;
use cutover_engine::peers::CheckError;
use http::{Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2 as over_http2;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::connection::Connected;
use super::without_body;
use crate::http::{MAX_BODY, broken, talk};
use crate::tls::TlsClient;

/// Sends a request over HTTP/1.1 and reads the whole answer.
pub(super) async fn http1(connected: Connected, request: Request<Full<Bytes>>) -> Result<Answer, CheckError> {
    let tls = connected.tls.clone();
    let response = talk(connected, request).await.map_err(|error| no_answer(tls.as_ref(), &error))?;
    whole(response, tls.as_ref()).await
}

/// The same over HTTP/2.
pub(super) async fn http2(connected: Connected, request: Request<Full<Bytes>>) -> Result<Answer, CheckError> {
    let tls = connected.tls.clone();
    let request = for_http2(request, tls.is_some())?;
    let failed = |error: hyper::Error| no_answer(tls.as_ref(), &error);
    let opened = over_http2::handshake(TokioExecutor::new(), TokioIo::new(connected)).await;
    let (mut sender, connection) = opened.map_err(failed)?;
    // This task ends when the sender and the answer have been dropped.
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(failed)?;
    whole(response, tls.as_ref()).await
}

/// HTTP/2 has the scheme and the host in the URI, and no headers of the connection.
fn for_http2(mut request: Request<Full<Bytes>>, is_tls: bool) -> Result<Request<Full<Bytes>>, CheckError> {
    let host = request.headers_mut().remove(header::HOST);
    request.headers_mut().remove(header::CONNECTION);
    let host = host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = uri(host, path, is_tls)?;
    Ok(request)
}

/// A URI with scheme and host.
pub(super) fn uri(host: &str, path: &str, is_tls: bool) -> Result<Uri, CheckError> {
    let scheme = if is_tls { "https" } else { "http" };
    let uri = Uri::builder().scheme(scheme).authority(host).path_and_query(path).build();
    uri.map_err(|error| CheckError::Invalid(format!("host \"{host}\" cannot be sent over HTTP/2: {error}")))
}

async fn whole(response: Response<Incoming>, tls: Option<&TlsClient>) -> Result<Answer, CheckError> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, MAX_BODY).collect().await;
    let body = body.map_err(|error| no_answer(tls, &*error))?.to_bytes();
    Ok(Answer { body: body.to_vec(), ..without_body(head.status.as_u16(), &head.headers) })
}

/// Why there is no complete answer. With TLS 1.3 a server looks at the client's certificate only after the handshake.
pub(super) fn no_answer(tls: Option<&TlsClient>, error: &(dyn Error + 'static)) -> CheckError {
    let refusal = tls.and_then(|client| client.refusal(error));
    CheckError::NoAnswer(refusal.unwrap_or_else(|| format!("the connection broke: {}", broken(error))))
}
