//! The URL of a server that is asked over HTTP.

use std::fmt;
use std::str::FromStr;

use http::Uri;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An address as in `http://127.0.0.1:9090` or `https://prometheus.example`, with a path if Prometheus is behind one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl(Uri);

impl HttpUrl {
    /// Host and port to connect to.
    pub fn address(&self) -> String {
        let host = self.0.host().unwrap_or_default();
        let usual = if self.is_https() { 443 } else { 80 };
        format!("{host}:{}", self.0.port_u16().unwrap_or(usual))
    }

    /// The URL.
    pub fn uri(&self) -> &Uri {
        &self.0
    }

    /// Whether the connection is encrypted.
    pub fn is_https(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    /// The value of `Host`.
    pub fn host(&self) -> &str {
        self.0.authority().map_or("", |authority| authority.as_str())
    }

    /// The path of an API call, such as `/api/v1/query`.
    pub fn path(&self, call: &str) -> String {
        format!("{}{call}", self.0.path().trim_end_matches('/'))
    }

    /// Whether the host is this one.
    pub(super) fn is_loopback(&self) -> bool {
        let host = self.0.host().unwrap_or_default().trim_matches(['[', ']']);
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}{}",
            self.0.scheme_str().unwrap_or("http"),
            self.host(),
            self.0.path().trim_end_matches('/')
        )
    }
}

impl FromStr for HttpUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let right = "as in \"http://127.0.0.1:9090\"";
        let uri: Uri =
            text.trim_end_matches('/').parse().map_err(|_| format!("\"{text}\" is not a URL, {right}"))?;
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(format!(
                "a URL with a user or a password is not possible; expected a URL {right}, and token_file"
            ));
        }
        match uri.scheme_str() {
            Some("http" | "https") => {}
            _ => return Err(format!("\"{text}\" is not a URL, {right}")),
        }
        if uri.query().is_some() {
            return Err(format!(
                "\"{text}\" has a query: expected where Prometheus listens, {right}; the query goes into promql"
            ));
        }
        Ok(Self(uri))
    }
}

impl Serialize for HttpUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HttpUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_server_listens() {
        for (text, address, host, path) in [
            ("http://127.0.0.1:9090", "127.0.0.1:9090", "127.0.0.1:9090", "/api"),
            ("http://[::1]:9090/", "[::1]:9090", "[::1]:9090", "/api"),
            ("http://prometheus/behind/", "prometheus:80", "prometheus", "/behind/api"),
            ("https://prometheus/behind/", "prometheus:443", "prometheus", "/behind/api"),
            ("https://10.0.0.9:9090", "10.0.0.9:9090", "10.0.0.9:9090", "/api"),
        ] {
            let url: HttpUrl = text.parse().unwrap();
            assert_eq!(
                (url.address().as_str(), url.host(), url.path("/api").as_str()),
                (address, host, path)
            );
            assert_eq!(url.to_string().parse::<HttpUrl>().unwrap(), url);
        }
    }

    #[test]
    fn which_hosts_are_this_one() {
        for (text, is_loopback) in [
            ("http://127.0.0.2:1", true),
            ("http://[::1]", true),
            ("http://localhost:9090", true),
            ("http://10.0.0.1", false),
            ("http://localhost.example", false),
        ] {
            assert_eq!(text.parse::<HttpUrl>().unwrap().is_loopback(), is_loopback, "{text}");
        }
    }
}
