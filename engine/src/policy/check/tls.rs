//! `tls = { .. }` of a check: how TLS is spoken with the server.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The settings of TLS with a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "RawTls", into = "RawTls")]
pub struct Tls {
    /// A PEM file with the CAs that may sign the server's certificate. `None`: those that this host trusts.
    pub ca: Option<PathBuf>,
    /// The name that is sent, and that the certificate must have. `None`: the host of the group.
    pub sni: Option<String>,
    /// Accepts every certificate.
    pub insecure: bool,
    /// The client's certificate and its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

#[derive(Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a table: {}, or as in { ca = \"/etc/cutover/app-ca.pem\", sni = \"shop.example\" }"
)]
struct RawTls {
    /// A PEM file with the CAs that may sign the certificate of the server. Without it, those that this program trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(regex(pattern = "^/")))]
    ca: Option<PathBuf>,
    /// The name that is sent, and that the certificate must have. Without it, the host of the group.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(regex(pattern = "^[A-Za-z0-9._-]+$")))]
    sni: Option<String>,
    /// Accepts every certificate.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    insecure: bool,
    /// A PEM file with the certificate of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(regex(pattern = "^/")))]
    client_cert: Option<PathBuf>,
    /// A PEM file with the key of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(regex(pattern = "^/")))]
    client_key: Option<PathBuf>,
}

impl TryFrom<RawTls> for Tls {
    type Error = String;

    fn try_from(raw: RawTls) -> Result<Self, String> {
        let RawTls { ca, sni, insecure, client_cert, client_key } = raw;
        for (key, path) in [("ca", &ca), ("client_cert", &client_cert), ("client_key", &client_key)] {
            absolute(key, path.as_deref())?;
        }
        if insecure && ca.is_some() {
            return Err("tls: insecure = true accepts every certificate, so \"ca\" is not allowed".to_owned());
        }
        if let Some(name) = &sni
            && (name.is_empty()
                || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)))
        {
            return Err(format!("tls.sni \"{name}\" is not a name of a host, as in \"shop.example\""));
        }
        let client = match (client_cert, client_key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => return Err("tls: client_cert needs client_key".to_owned()),
            (None, Some(_)) => return Err("tls: client_key needs client_cert".to_owned()),
        };
        Ok(Self { ca, sni, insecure, client })
    }
}

fn absolute(key: &str, path: Option<&Path>) -> Result<(), String> {
    match path {
        Some(path) if !path.is_absolute() => Err(format!(
            "tls.{key} \"{}\" is not an absolute path, as in \"/etc/cutover/app-ca.pem\"",
            path.display()
        )),
        _ => Ok(()),
    }
}

impl From<Tls> for RawTls {
    fn from(Tls { ca, sni, insecure, client }: Tls) -> Self {
        let (client_cert, client_key) = client.unzip();
        Self { ca, sni, insecure, client_cert, client_key }
    }
}
