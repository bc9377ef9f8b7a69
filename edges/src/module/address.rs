//! Addresses of the admin API.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::tls::HttpsHost;

/// The address of the admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// A unix socket.
    Unix(PathBuf),
    /// A loopback address.
    Tcp(SocketAddr),
    /// A host, over TLS.
    Https(HttpsHost),
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Https(host) => write!(f, "https://{host}"),
        }
    }
}
