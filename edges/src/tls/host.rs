//! The host and the port of an `https://` URL.

use std::fmt;
use std::net::IpAddr;

use http::Uri;
use rustls::pki_types::ServerName;

/// The port of a URL that has none.
const DEFAULT_PORT: u16 = 443;

/// A name or an IP address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpsHost {
    name: ServerName<'static>,
    port: u16,
}

impl HttpsHost {
    /// A host.
    pub fn new(name: ServerName<'static>, port: u16) -> Self {
        Self { name, port }
    }

    /// Reads `https://HOST` or `https://HOST:PORT`, without a path. `None` for everything else.
    pub fn parse(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        Self::of(&uri).filter(|_| uri.path() == "/" && uri.query().is_none())
    }

    /// The host of a URL. `None` unless it is an https URL with a valid host and without a user.
    pub fn of(uri: &Uri) -> Option<Self> {
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
        if uri.scheme() != Some(&http::uri::Scheme::HTTPS) {
            return None;
        }
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = match authority.as_str().get(authority.host().len()..) {
            None | Some("") => DEFAULT_PORT,
            Some(_) => authority.port_u16().filter(|port| *port != 0)?,
        };
        Some(Self { name: ServerName::try_from(host.to_owned()).ok()?, port })
    }

    /// The name or the address.
    pub fn name(&self) -> &ServerName<'static> {
        &self.name
    }

    /// Whether it is a loopback address.
    pub fn is_loopback(&self) -> bool {
        match &self.name {
            ServerName::IpAddress(address) => IpAddr::from(*address).to_canonical().is_loopback(),
            name => name.to_str() == "localhost",
        }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// `HOST:PORT`, as in a URL.
impl fmt::Display for HttpsHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, port) = (self.name.to_str(), self.port);
        if name.contains(':') { write!(f, "[{name}]:{port}") } else { write!(f, "{name}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_urls() {
        for (url, shown) in [
            ("https://10.0.0.2:9443", Some("10.0.0.2:9443")),
            ("https://10.0.0.2:9443/", Some("10.0.0.2:9443")),
            ("https://[2001:db8::1]:9443", Some("[2001:db8::1]:9443")),
            ("https://[::1]", Some("[::1]:443")),
            ("https://edge.example.com", Some("edge.example.com:443")),
            ("https://edge.example.com:65535", Some("edge.example.com:65535")),
            ("https://edge.example.com:65536", None),
            ("https://edge.example.com:0", None),
            ("https://edge.example.com:", None),
            ("https://user@edge.example.com", None),
            ("https://edge.example.com/v1", None),
            ("https://edge.example.com?x", None),
            ("https://-edge-", None),
            ("https://", None),
            ("http://10.0.0.2:9443", None),
            ("10.0.0.2:9443", None),
            ("", None),
        ] {
            assert_eq!(HttpsHost::parse(url).map(|host| host.to_string()).as_deref(), shown, "{url}");
        }
        let with_path: Uri = "https://prometheus:9090/api/v1/query?query=up".parse().unwrap();
        assert_eq!(HttpsHost::of(&with_path).unwrap().to_string(), "prometheus:9090");
    }
}
