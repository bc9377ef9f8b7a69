//! A check: what is asked of a server, and what must come back. Probes and smoke tests are checks.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cutover_core::placeholder::{Values, fill, has_version};
use cutover_core::smoke::Expectation;

use super::value::{Argv, UrlPath};

mod raw;
mod tls;
mod way;

pub(super) use raw::{Kind, RawCheck, keys_of_check};
pub use tls::Tls;
pub use way::{BySlot, Port, Way};

/// What is asked of a server.
#[derive(Clone, Debug, PartialEq)]
pub enum Check {
    /// A request and the expected answer.
    Http(Box<HttpCheck>),
    /// A connection, over TLS if the way says so.
    Tcp(Way),
    /// A call of `grpc.health.v1.Health/Check`, which must answer SERVING.
    Grpc(Box<GrpcCheck>),
    /// A command, which must exit with 0.
    Command(CommandCheck),
}

/// A request and the expected answer.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpCheck {
    /// The method.
    pub method: String,
    /// The path.
    pub path: UrlPath,
    /// Headers to send.
    pub headers: BTreeMap<String, String>,
    /// The body to send.
    pub body: Option<String>,
    /// The expected answer.
    pub expect: Expectation,
    /// Whether HTTP/2 is spoken in place of HTTP/1.1: over TLS by ALPN, otherwise at once.
    pub http2: bool,
    /// How the server is reached.
    pub way: Way,
}

/// A question to a gRPC health service.
#[derive(Clone, Debug, PartialEq)]
pub struct GrpcCheck {
    /// The service whose health is asked for. Empty: that of the whole server.
    pub service: String,
    /// Metadata to send.
    pub headers: BTreeMap<String, String>,
    /// How the server is reached.
    pub way: Way,
}

/// A command that checks one server, whose address it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandCheck {
    /// The program and its arguments.
    pub command: Argv,
    /// The working directory. `None` is `/`.
    pub cwd: Option<PathBuf>,
}

impl Check {
    /// A `GET` of this path.
    pub(super) fn get(path: &str) -> Self {
        Self::Http(Box::new(HttpCheck {
            method: "GET".to_owned(),
            path: UrlPath::fixed(path),
            headers: BTreeMap::new(),
            body: None,
            expect: Expectation::default(),
            http2: false,
            way: Way::default(),
        }))
    }

    /// The way to the server. A command finds its own.
    pub fn way(&self) -> Option<&Way> {
        match self {
            Self::Http(http) => Some(&http.way),
            Self::Tcp(way) => Some(way),
            Self::Grpc(grpc) => Some(&grpc.way),
            Self::Command(_) => None,
        }
    }

    /// The expected answer, if it is one to a request.
    pub fn expect(&self) -> Option<&Expectation> {
        match self {
            Self::Http(http) => Some(&http.expect),
            _ => None,
        }
    }

    /// Like [`expect`](Self::expect), to change it.
    pub fn expect_mut(&mut self) -> Option<&mut Expectation> {
        match self {
            Self::Http(http) => Some(&mut http.expect),
            _ => None,
        }
    }

    /// The texts with placeholders that are sent.
    pub fn sent_texts(&self) -> Vec<&str> {
        match self {
            Self::Http(http) => {
                let texts = http.headers.values().chain(&http.body).map(String::as_str);
                [http.path.as_str()].into_iter().chain(texts).collect()
            }
            Self::Grpc(grpc) => {
                [&grpc.service].into_iter().chain(grpc.headers.values()).map(String::as_str).collect()
            }
            Self::Tcp(_) | Self::Command(_) => Vec::new(),
        }
    }

    /// All texts with placeholders: those that are sent, and those that are expected.
    pub fn texts(&self) -> Vec<&str> {
        let expected = self.expect().map(Expectation::texts).unwrap_or_default();
        self.sent_texts().into_iter().chain(expected).collect()
    }

    /// Whether a text contains `{version}`.
    pub fn needs_version(&self) -> bool {
        self.texts().into_iter().any(has_version)
    }

    /// The check with values in place of the placeholders.
    pub fn filled(&self, values: &Values<'_>) -> Self {
        let all = |headers: &BTreeMap<String, String>| {
            headers.iter().map(|(name, text)| (name.clone(), fill(text, values))).collect()
        };
        match self {
            Self::Http(http) => Self::Http(Box::new(HttpCheck {
                method: http.method.clone(),
                path: http.path.filled(values),
                headers: all(&http.headers),
                body: http.body.as_ref().map(|text| fill(text, values)),
                expect: http.expect.filled(values),
                http2: http.http2,
                way: http.way.clone(),
            })),
            Self::Grpc(grpc) => Self::Grpc(Box::new(GrpcCheck {
                service: fill(&grpc.service, values),
                headers: all(&grpc.headers),
                way: grpc.way.clone(),
            })),
            Self::Tcp(_) | Self::Command(_) => self.clone(),
        }
    }

    /// What is sent, in a few words: the path of a `GET`, a method and a path, or what else is done.
    pub fn sent(&self) -> String {
        match self {
            Self::Http(http) if http.method == "GET" => http.path.as_str().to_owned(),
            Self::Http(http) => format!("{} {}", http.method, http.path.as_str()),
            Self::Tcp(way) if way.tls.is_some() => "TLS".to_owned(),
            Self::Tcp(_) => "TCP".to_owned(),
            Self::Grpc(grpc) if grpc.service.is_empty() => "gRPC health".to_owned(),
            Self::Grpc(grpc) => format!("gRPC health of \"{}\"", grpc.service),
            Self::Command(command) => command.command.typed(),
        }
    }
}
