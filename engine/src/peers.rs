//! The trait that asks the servers of an upstream.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use cutover_core::smoke::Answer;
use http::Request;
use http_body_util::Full;

use crate::policy::{Argv, HttpUrl, Tls};

/// A client for peers.
pub trait Peers: Send + Sync + 'static {
    /// Asks one peer, at an address in nginx's format. Fails without a complete answer within `limit`.
    fn check(
        &self,
        peer: &str,
        call: Call,
        limit: Duration,
    ) -> impl Future<Output = Result<Reply, CheckError>> + Send;
}

/// A check of one peer, without placeholders.
#[derive(Clone, Debug)]
pub struct Call {
    /// Where it is sent.
    pub to: Destination,
    /// TLS, with the name for it.
    pub tls: Option<TlsCall>,
    /// What is done.
    pub what: What,
}

/// Where a call is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To the peer.
    Peer,
    /// To another port of the peer.
    Port(u16),
    /// To a server of nginx's, which sends it to a peer of the slot.
    Through(HttpUrl),
}

/// TLS with a server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TlsCall {
    /// The settings.
    pub settings: Tls,
    /// The name that is sent, and that the certificate must have.
    pub name: String,
}

/// What is done with a peer.
#[derive(Clone, Debug)]
pub enum What {
    /// A request.
    Http {
        /// The request, with its `Host`.
        request: Request<Full<Bytes>>,
        /// Whether HTTP/2 is spoken.
        http2: bool,
    },
    /// A connection.
    Tcp,
    /// A call of the gRPC health service.
    Grpc {
        /// The service whose health is asked for.
        service: String,
        /// The value of `:authority`.
        host: String,
        /// Metadata.
        headers: Vec<(String, String)>,
    },
    /// A command, which has no other variables than these.
    Command {
        /// The program and its arguments.
        command: Argv,
        /// The working directory.
        cwd: Option<PathBuf>,
        /// Its variables.
        environment: BTreeMap<String, String>,
    },
}

/// What a peer has answered.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The answer to a request, whatever its status.
    Http(Answer),
    /// There is a connection.
    Connected,
    /// The service is SERVING. The body of the answer says so.
    Serving(Answer),
    /// The command has exited with 0. This is the last line of its output.
    Succeeded(String),
}

impl Reply {
    /// The answer as it came over HTTP.
    pub fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Http(answer) | Self::Serving(answer) => Some(answer),
            Self::Connected | Self::Succeeded(_) => None,
        }
    }
}

/// Why a peer does not pass. The text is one line and follows the peer's address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// Nothing can be sent, because of the configuration. It says nothing of the peer.
    #[error("{0}")]
    Invalid(String),
    /// Nothing was sent.
    #[error("{0}")]
    NotSent(String),
    /// There was no complete answer.
    #[error("{0}")]
    NoAnswer(String),
    /// The answer says that the peer is not well.
    #[error("{0}")]
    Refused(String),
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
