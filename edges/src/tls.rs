//! TLS connections to the host of an `https://` URL, with certificates and keys from files.
//!
//! The client checks the server's certificate in every handshake: its CA, its dates, and its name. Sessions are not resumed,
//! so a certificate that has expired or was replaced counts from the next call on. The files are read again when they change:
//! a new certificate needs no restart.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

mod certificate;
mod files;
mod host;
mod identity;
mod insecure;
mod refusal;

pub use certificate::{Certificate, Date};
pub use files::FileError;
pub use host::HttpsHost;
/// A name or an IP address that a certificate can have.
pub use rustls::pki_types::ServerName;

use files::Loaded;
use refusal::Refusal;

/// The keys of a section of the configuration that say how its TLS connections are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// The section, for messages: `edge.lyon`.
    pub section: String,
    /// `ca`: a PEM file with the CAs that may sign the server's certificate. `None`: those that this host trusts.
    pub ca: Option<PathBuf>,
    /// `client_cert` and `client_key`.
    pub client: Option<ClientFiles>,
    /// `server_name`: the name that the server's certificate must have. `None`: the host of the URL.
    pub server_name: Option<ServerName<'static>>,
    /// Set for a server of an application.
    pub application: Option<Application>,
}

/// What differs when the server is not nginx but an application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Application {
    /// Accepts every certificate.
    pub insecure: bool,
    /// Offers HTTP/2 only.
    pub http2: bool,
}

/// The PEM files of the client's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFiles {
    /// `client_cert`: the certificate, then the certificates of intermediate CAs.
    pub certificate: PathBuf,
    /// `client_key`: its private key, without a passphrase.
    pub key: PathBuf,
}

/// A connection that TLS can be spoken on.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for S {}

/// Why there is no TLS connection. Nothing was sent.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// One side refused the other, or the server does not speak TLS.
    #[error("{0}")]
    Handshake(String),
}

/// A client for one host. Clones share what was read from the files.
#[derive(Clone)]
pub struct TlsClient {
    host: HttpsHost,
    settings: Arc<TlsSettings>,
    loaded: Arc<Mutex<Option<Loaded>>>,
}

/// What a handshake has shown.
#[derive(Clone, Debug)]
pub struct Handshake {
    /// The server's own certificate.
    pub server: Certificate,
    /// The client's certificate, if the settings have one.
    pub client: Option<Certificate>,
    /// Whether the server asked for a client's certificate.
    pub wants_client: bool,
}

impl TlsSettings {
    /// Settings that trust the CAs of this host and show no certificate.
    pub fn new(section: String) -> Self {
        Self { section, ca: None, client: None, server_name: None, application: None }
    }
}

impl TlsClient {
    /// A client that has read no file yet.
    pub fn new(host: HttpsHost, settings: TlsSettings) -> Self {
        Self { host, settings: Arc::new(settings), loaded: Arc::default() }
    }

    /// The host that it connects to.
    pub fn host(&self) -> &HttpsHost {
        &self.host
    }

    /// The settings.
    pub fn settings(&self) -> &TlsSettings {
        &self.settings
    }

    /// The value of the header `Host`: the name that the server's certificate must have, and the port.
    pub fn host_header(&self) -> String {
        match &self.settings.server_name {
            Some(name) => HttpsHost::new(name.clone(), self.host.port()).to_string(),
            None => self.host.to_string(),
        }
    }

    /// Checks that the files can be used as they are now.
    pub async fn check_files(&self) -> Result<(), FileError> {
        self.load(None).await.map(drop)
    }

    /// Begins TLS on a connection to the host.
    pub async fn handshake<S: Stream>(&self, stream: S) -> Result<TlsStream<S>, TlsError> {
        let before = self.loaded.lock().clone();
        let loaded = self.load(before).await?;
        *self.loaded.lock() = Some(loaded.clone());
        self.handshake_with(stream, &loaded).await
    }

    /// Begins TLS and returns what it has shown of both sides. The files are read anew.
    pub async fn inspect(&self, stream: TcpStream) -> Result<Handshake, TlsError> {
        let loaded = self.load(None).await?;
        let stream = self.handshake_with(stream, &loaded).await?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let server = chain.first().and_then(|der| Certificate::parse(der));
        let server = server
            .ok_or_else(|| TlsError::Handshake(format!("the certificate of {} cannot be read", self.host)))?;
        Ok(Handshake {
            server,
            client: loaded.identity.certificate(),
            wants_client: loaded.identity.was_asked_for(),
        })
    }

    /// Why the server has refused the client after the handshake: with TLS 1.3 it looks at the client's certificate only
    /// then. `None`: the error has another cause.
    pub(crate) fn refusal(&self, error: &(dyn Error + 'static)) -> Option<String> {
        let io = causes(error).find_map(|error| error.downcast_ref::<io::Error>())?;
        Refusal { host: &self.host, settings: &self.settings }.of_alert(io)
    }

    async fn handshake_with<S: Stream>(&self, stream: S, loaded: &Loaded) -> Result<TlsStream<S>, TlsError> {
        let name = self.settings.server_name.as_ref().unwrap_or(self.host.name()).clone();
        let connector = TlsConnector::from(Arc::clone(&loaded.config));
        connector.connect(name, stream).await.map_err(|error| {
            let refusal = Refusal { host: &self.host, settings: &self.settings };
            TlsError::Handshake(refusal.text(&error))
        })
    }

    /// Reads the files, unless they are as they were `before`. Files that cannot be used do not replace those from before:
    /// while a certificate is being replaced, it does not match its key for a moment.
    async fn load(&self, before: Option<Loaded>) -> Result<Loaded, FileError> {
        let settings = Arc::clone(&self.settings);
        // A slow disk must not block an async thread.
        let loading = tokio::task::spawn_blocking(move || files::load(&settings, before));
        loading.await.unwrap_or_else(|failed| {
            Err(FileError::unread(&self.settings.section, &io::Error::other(failed)))
        })
    }
}

/// An error, its cause, the cause of that, and so on.
pub(crate) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let now = next?;
        next = now.source();
        Some(now)
    })
}

impl PartialEq for TlsClient {
    fn eq(&self, other: &Self) -> bool {
        self.host == other.host && self.settings == other.settings
    }
}

impl Eq for TlsClient {}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").field("host", &self.host).field("settings", &self.settings).finish()
    }
}
