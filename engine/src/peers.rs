//! The trait that sends HTTP/1.1 requests to the servers of an upstream.

use std::collections::BTreeMap;
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

/// Headers to send: those given, and the usual ones that are not among them.
pub fn with_usual<'a>(
    given: &'a BTreeMap<String, String>,
    usual: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    let is_given = |name: &str| given.keys().any(|given| given.eq_ignore_ascii_case(name));
    let usual = usual.iter().copied().filter(|(name, _)| !is_given(name));
    given.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(usual).collect()
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
