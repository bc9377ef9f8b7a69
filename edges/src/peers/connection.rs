//! A connection to a server, which remembers how the answer began.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use cutover_engine::peers::CheckError;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::http::Address;
use crate::tls::{Stream, TlsClient};

/// How many bytes of the beginning are remembered. The kinds of protocols differ within them.
const REMEMBERED: usize = 16;

/// A connection on which nothing was sent, except for TLS.
pub(super) struct Connected {
    stream: Box<dyn Stream>,
    began: Began,
    /// The client, to explain alerts of the server.
    pub(super) tls: Option<TlsClient>,
}

/// The first bytes that the server has sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Began(Arc<Mutex<Vec<u8>>>);

impl Began {
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0.lock().clone()
    }

    fn add(&self, bytes: &[u8]) {
        let mut known = self.0.lock();
        let room = REMEMBERED.saturating_sub(known.len()).min(bytes.len());
        known.extend_from_slice(bytes.get(..room).unwrap_or_default());
    }
}

impl Connected {
    pub(super) fn began(&self) -> Began {
        self.began.clone()
    }
}

/// Opens a plain connection.
pub(super) async fn open(address: &Address) -> io::Result<Box<dyn Stream>> {
    Ok(match address {
        Address::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            // Without Nagle's algorithm a small request does not wait for the acknowledgement of an earlier packet.
            let _ = stream.set_nodelay(true);
            Box::new(stream)
        }
        Address::Unix(path) => Box::new(open_unix(path).await?),
        Address::Tls(_) => return Err(io::Error::other("the address of a peer has no TLS of its own")),
    })
}

async fn open_unix(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path).await
}

/// Opens a connection, with TLS if there is a client for it.
pub(super) async fn connect(
    address: &Address,
    tls: Option<&TlsClient>,
    http2: bool,
) -> Result<Connected, CheckError> {
    let not_sent = |error: io::Error| CheckError::NotSent(format!("no connection: {error}"));
    let stream = open(address).await.map_err(not_sent)?;
    let Some(client) = tls else {
        return Ok(Connected { stream, began: Began::default(), tls: None });
    };
    let stream = client.handshake(stream).await.map_err(|error| CheckError::NotSent(error.to_string()))?;
    if http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(CheckError::NotSent(
            "the server speaks TLS, but offers no HTTP/2 (ALPN \"h2\") there".to_owned(),
        ));
    }
    Ok(Connected { stream: Box::new(stream), began: Began::default(), tls: Some(client.clone()) })
}

impl AsyncRead for Connected {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.began.add(buffer.filled().get(before..).unwrap_or_default());
        polled
    }
}

impl AsyncWrite for Connected {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
