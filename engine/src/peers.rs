//! The servers of an upstream, asked over HTTP/1.1.

use std::time::Duration;

use bytes::Bytes;
use cutover_core::smoke::Answer;
use http::Request;
use http_body_util::Full;

/// Asks servers.
pub trait Peers: Send + Sync + 'static {
    /// Asks one peer, at an address as nginx writes it. The error is one line.
    fn ask(
        &self,
        peer: &str,
        request: Request<Full<Bytes>>,
        limit: Duration,
    ) -> impl Future<Output = Result<Answer, String>> + Send;
}

/// Builds a request. A body of `None` is empty.
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
