//! The trait that sends HTTP/1.1 requests to the servers of an upstream.

use std::time::Duration;

use bytes::Bytes;
use cutover_core::smoke::Answer;
use http::Request;
use http_body_util::Full;

/// A client for peers.
pub trait Peers: Send + Sync + 'static {
    /// Sends a request to one peer, at an address in nginx's format. Fails without a complete answer within `limit`. The
    /// error is one line.
    fn ask(
        &self,
        peer: &str,
        request: Request<Full<Bytes>>,
        limit: Duration,
    ) -> impl Future<Output = Result<Answer, String>> + Send;
}

/// Builds a request. `None` is an empty body. Fails if a part is invalid in HTTP.
pub fn request(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<Vec<u8>>,
) -> Result<Request<Full<Bytes>>, http::Error> {
    let mut builder = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Full::new(Bytes::from(body.unwrap_or_default())))
}
