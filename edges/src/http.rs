//! An HTTP/1.1 client for the admin API of nginx, for peers and for the daemon's control socket; over TLS for any https URL.
//!
//! Each request uses a new connection, because the other side may restart at any moment. A connection that is kept open can
//! be closed by the server while a request is on its way, and then nobody knows whether the request was processed.

use std::error::Error;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use cutover_core::smoke::Answer;
use http::Request;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, ToSocketAddrs, UnixStream};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::client::TlsStream;

use crate::tls::{Handshake, TlsClient, TlsError, causes};

/// Maximum length of an answer's body, in bytes.
pub(crate) const MAX_BODY: usize = 4 * 1024 * 1024;

/// Between a peer's address and the host that it is of.
const OF: &str = " of ";

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `IP:PORT`
    Tcp(String),
    /// `unix:PATH`
    Unix(PathBuf),
    /// The host of an `https://` URL
    Tls(TlsClient),
}

impl Address {
    /// Parses an address in nginx's format: `IP:PORT`, `[IP6]:PORT` or `unix:PATH`.
    pub fn of_peer(text: &str) -> Result<Self, HttpError> {
        if let Some((address, host)) = text.split_once(OF) {
            return Err(HttpError::Elsewhere { address: address.to_owned(), host: host.to_owned() });
        }
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Self::Unix(path.trim_end_matches(':').into()));
        }
        match text.parse::<std::net::SocketAddr>() {
            Ok(_) => Ok(Self::Tcp(text.to_owned())),
            Err(_) => Err(HttpError::Address(text.to_owned())),
        }
    }

    /// The name of a peer of another host. A loopback address and a unix socket lead to another server on each host, so the
    /// host becomes a part of the name, and [`of_peer`](Self::of_peer) refuses it. Other addresses stay as they are.
    pub fn elsewhere(peer: &str, host: &str) -> String {
        match Self::of_peer(peer) {
            Ok(address) if address.is_of_one_host() => format!("{peer}{OF}{host}"),
            _ => peer.to_owned(),
        }
    }

    fn is_of_one_host(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp(address) => address
                .parse::<std::net::SocketAddr>()
                .is_ok_and(|address| address.ip().to_canonical().is_loopback()),
            Self::Tls(client) => client.host().is_loopback(),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The text is not an address of a peer.
    #[error("\"{0}\" is neither IP:PORT nor unix:PATH")]
    Address(String),
    /// The peer is one that only its own host reaches, see [`Address::elsewhere`].
    #[error(
        "{address} is a server that only the host {host} reaches, and this daemon runs elsewhere: give it an address that both \
         hosts reach"
    )]
    Elsewhere {
        /// The address on that host.
        address: String,
        /// The host.
        host: String,
    },
    /// There is no connection, so nothing was sent.
    #[error("no connection: {0}")]
    Connect(std::io::Error),
    /// There was no connection in time, so nothing was sent.
    #[error("no connection within {}", humantime::format_duration(*.0))]
    SlowToConnect(Duration),
    /// There is no TLS connection, so nothing was sent.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The connection broke. The server may have processed the request.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// There was no complete answer in time. The server may have processed the request.
    #[error("no answer within {}", humantime::format_duration(*.0))]
    Timeout(Duration),
    /// The request is invalid, so nothing was sent.
    #[error("invalid request: {0}")]
    Request(#[from] http::Error),
}

impl HttpError {
    /// Whether it is certain that the server did not process the request.
    pub fn is_before_sending(&self) -> bool {
        match self {
            Self::Address(_)
            | Self::Elsewhere { .. }
            | Self::Connect(_)
            | Self::SlowToConnect(_)
            | Self::Tls(_)
            | Self::Request(_) => true,
            Self::Broken(_) | Self::Timeout(_) => false,
        }
    }
}

/// Sends a request and reads the complete answer, at most 4 MiB. Fails if this takes longer than `limit`.
pub async fn ask(
    address: &Address,
    request: Request<Full<Bytes>>,
    limit: Duration,
) -> Result<Answer, HttpError> {
    ask_for(address, request, limit, MAX_BODY).await
}

/// Like [`ask`], for an answer with a body of at most `most` bytes.
pub async fn ask_for(
    address: &Address,
    request: Request<Full<Bytes>>,
    limit: Duration,
    most: usize,
) -> Result<Answer, HttpError> {
    let deadline = Instant::now() + limit;
    let connected = timeout_at(deadline, Connection::open(address)).await;
    let connection = connected.unwrap_or(Err(HttpError::SlowToConnect(limit)))?;
    let whole = async {
        let response = connection.exchange(request).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, most).collect().await;
        let body = body.map_err(|error| HttpError::Broken(broken(&*error)))?.to_bytes();
        let headers = head.headers.iter().map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        });
        Ok(Answer { status: head.status.as_u16(), headers: headers.collect(), body: body.to_vec() })
    };
    timeout_at(deadline, whole).await.unwrap_or(Err(HttpError::Timeout(limit)))
}

/// Sends a request and returns when the head of the answer has arrived. There is no time limit.
pub async fn send(
    address: &Address,
    request: Request<Full<Bytes>>,
) -> Result<http::Response<Incoming>, HttpError> {
    Connection::open(address).await?.exchange(request).await
}

/// Connects to a host and returns what the TLS handshake has shown. Fails if this takes longer than `limit`.
pub async fn inspect(client: &TlsClient, limit: Duration) -> Result<Handshake, HttpError> {
    let whole = async {
        let stream = connect(client.host().to_string()).await?;
        client.inspect(stream).await.map_err(HttpError::Tls)
    };
    tokio::time::timeout(limit, whole).await.unwrap_or(Err(HttpError::SlowToConnect(limit)))
}

/// A connection on which nothing was sent yet.
enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>, TlsClient),
}

impl Connection {
    async fn open(address: &Address) -> Result<Self, HttpError> {
        Ok(match address {
            Address::Tcp(address) => Self::Tcp(connect(address).await?),
            Address::Unix(path) => Self::Unix(UnixStream::connect(path).await.map_err(HttpError::Connect)?),
            Address::Tls(client) => {
                let stream = connect(client.host().to_string()).await?;
                Self::Tls(Box::new(client.handshake(stream).await?), client.clone())
            }
        })
    }

    async fn exchange(self, request: Request<Full<Bytes>>) -> Result<http::Response<Incoming>, HttpError> {
        match self {
            Self::Tcp(stream) => exchange(stream, request).await,
            Self::Unix(stream) => exchange(stream, request).await,
            Self::Tls(stream, client) => talk(*stream, request)
                .await
                .map_err(|error| HttpError::Broken(client.refusal(&error).unwrap_or_else(|| broken(&error)))),
        }
    }
}

/// Why a connection broke, with its causes.
pub(crate) fn broken(error: &(dyn Error + 'static)) -> String {
    let is_end = |error: &(dyn Error + 'static)| {
        error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::UnexpectedEof)
    };
    // The text of rustls is long.
    match causes(error).any(is_end) {
        true => "it was closed before the answer was complete".to_owned(),
        false => causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": "),
    }
}

async fn connect(address: impl ToSocketAddrs) -> Result<TcpStream, HttpError> {
    let stream = TcpStream::connect(address).await.map_err(HttpError::Connect)?;
    // Without Nagle's algorithm a small request does not wait for the acknowledgement of an earlier packet.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// Sends a request over a connection and returns when the head of the answer has arrived. There is no time limit. The connection is
/// dropped when the answer has been read or dropped.
pub async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<http::Response<Incoming>, HttpError> {
    talk(stream, request).await.map_err(|error| HttpError::Broken(broken(&error)))
}

pub(crate) async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<http::Response<Incoming>, hyper::Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // This task ends when the answer has been read or dropped.
    let ended = tokio::spawn(connection);
    match sender.send_request(request).await {
        // The connection ended before the request was sent. It knows why.
        Err(error) if error.is_canceled() => match ended.await {
            Ok(Err(cause)) => Err(cause),
            _ => Err(error),
        },
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_as_nginx_writes_them() {
        for (text, address) in [
            ("127.0.0.1:80", Some(Address::Tcp("127.0.0.1:80".to_owned()))),
            ("[::1]:80", Some(Address::Tcp("[::1]:80".to_owned()))),
            ("unix:/run/app.sock", Some(Address::Unix("/run/app.sock".into()))),
            ("unix:/run/app.sock:", Some(Address::Unix("/run/app.sock".into()))),
            ("unix:", None),
            ("example.com:80", None),
            ("127.0.0.1:80 of 10.0.0.2", None),
            ("", None),
        ] {
            assert_eq!(Address::of_peer(text).ok(), address, "{text}");
        }
    }

    #[test]
    fn peers_of_another_host() {
        for (peer, name) in [
            ("127.0.0.1:80", "127.0.0.1:80 of 10.0.0.2"),
            ("127.1.2.3:80", "127.1.2.3:80 of 10.0.0.2"),
            ("[::1]:80", "[::1]:80 of 10.0.0.2"),
            ("[::ffff:127.0.0.1]:80", "[::ffff:127.0.0.1]:80 of 10.0.0.2"),
            ("unix:/run/app.sock", "unix:/run/app.sock of 10.0.0.2"),
            ("10.0.0.3:80", "10.0.0.3:80"),
            ("[2001:db8::1]:80", "[2001:db8::1]:80"),
        ] {
            assert_eq!(Address::elsewhere(peer, "10.0.0.2"), name);
        }
        let error = Address::of_peer("unix:/run/app.sock of 10.0.0.2").unwrap_err().to_string();
        assert!(
            error.starts_with("unix:/run/app.sock is a server that only the host 10.0.0.2 reaches"),
            "{error}"
        );
    }
}
