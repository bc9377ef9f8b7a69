//! The gRPC health protocol: a call of `grpc.health.v1.Health/Check`.

use cutover_core::smoke::Answer;
use cutover_engine::peers::{CheckError, Reply};
use http::HeaderMap;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::connection::Connected;
use super::exchange::{no_answer, uri};
use super::without_body;

/// Asks for the health of a service. Only SERVING is good.
pub(super) async fn check(
    connected: Connected,
    service: String,
    host: &str,
    headers: &[(String, String)],
) -> Result<Reply, CheckError> {
    let tls = connected.tls.clone();
    let origin = uri(host, "/", tls.is_some())?;
    let opened = http2::handshake::<_, _, Body>(TokioExecutor::new(), TokioIo::new(connected)).await;
    let (mut sender, connection) = opened.map_err(|error| no_answer(tls.as_ref(), &error))?;
    // This task ends when the sender and the answer have been dropped.
    tokio::spawn(connection);
    sender.ready().await.map_err(|error| no_answer(tls.as_ref(), &error))?;
    let transport = tower::service_fn(move |request: http::Request<Body>| sender.send_request(request));
    let mut request = Request::new(HealthCheckRequest { service });
    *request.metadata_mut() = metadata(headers)?;
    let answered = HealthClient::with_origin(transport, origin).check(request).await;
    let answered = answered.map_err(|status| refusal(&status))?;
    let status = answered.get_ref().status();
    match status {
        ServingStatus::Serving => {
            let head = answered.metadata().clone().into_headers();
            let body = status.as_str_name().as_bytes().to_vec();
            Ok(Reply::Serving(Answer { body, ..without_body(200, &head) }))
        }
        other => Err(CheckError::Refused(format!("{} instead of SERVING", other.as_str_name()))),
    }
}

fn metadata(headers: &[(String, String)]) -> Result<MetadataMap, CheckError> {
    let mut all = HeaderMap::new();
    for (name, value) in headers {
        match (name.parse::<http::HeaderName>(), value.parse::<http::HeaderValue>()) {
            (Ok(name), Ok(value)) => all.append(name, value),
            _ => return Err(CheckError::Invalid(format!("\"{name}: {value}\" is not a header"))),
        };
    }
    Ok(MetadataMap::from_headers(all))
}

/// Why the call failed, with what helps.
fn refusal(status: &Status) -> CheckError {
    let said = status.message();
    let said = if said.is_empty() { String::new() } else { format!(" ({said})") };
    match status.code() {
        Code::Unimplemented => CheckError::Refused(format!(
            "UNIMPLEMENTED{said}: the server has no gRPC health service; add one, or write kind = \"tcp\" or a command"
        )),
        Code::NotFound => CheckError::Refused(format!(
            "NOT_FOUND{said}: the health service does not know this service; without \"service\" the whole server is asked for"
        )),
        // tonic's own errors: the connection broke, or the answer is not gRPC.
        Code::Unknown | Code::Internal | Code::Cancelled | Code::Unavailable => {
            CheckError::NoAnswer(format!("no gRPC answer: {:?}{said}", status.code()))
        }
        code => CheckError::Refused(format!("{code:?}{said}")),
    }
}
