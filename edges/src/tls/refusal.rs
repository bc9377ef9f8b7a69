//! Why a handshake failed, in words that say what to change.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

use super::certificate::Date;
use super::{HttpsHost, TlsSettings};

/// A failed handshake with this host.
pub(super) struct Refusal<'a> {
    pub(super) host: &'a HttpsHost,
    pub(super) settings: &'a TlsSettings,
}

impl Refusal<'_> {
    /// A whole clause.
    pub(super) fn text(&self, error: &io::Error) -> String {
        let host = match self.settings.application {
            // The caller names its address.
            Some(_) => "the server".to_owned(),
            None => self.host.to_string(),
        };
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(Error::InvalidCertificate(error)) => {
                format!("the certificate of {host} {}", self.certificate(error))
            }
            Some(Error::AlertReceived(alert)) => {
                format!("{host} refuses the TLS connection: {}", self.alert(*alert))
            }
            Some(Error::InvalidMessage(_)) => {
                let next = match self.settings.application {
                    Some(_) => format!("remove {}", self.settings.section),
                    None => "nginx needs \"listen ADDRESS:PORT ssl\" there".to_owned(),
                };
                format!("{host} does not speak TLS: {next}")
            }
            Some(error) => format!("TLS with {host} failed: {error}"),
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                format!("{host} closed the connection during the TLS handshake")
            }
            None => format!("the connection to {host} broke during the TLS handshake: {error}"),
        }
    }

    /// The same for an alert of the server's. `None`: the error is another one.
    pub(super) fn of_alert(&self, error: &io::Error) -> Option<String> {
        match error.get_ref()?.downcast_ref::<Error>()? {
            Error::AlertReceived(_) => Some(self.text(error)),
            _ => None,
        }
    }

    /// Follows "the certificate of HOST".
    fn certificate(&self, error: &CertificateError) -> String {
        let section = &self.settings.section;
        let (key, restart, who) = match self.settings.application {
            Some(_) => ("sni", "restart the server", "the server"),
            None => ("server_name", "reload nginx", "nginx"),
        };
        match error {
            CertificateError::NotValidForNameContext { expected, presented } => {
                let names: Vec<String> = presented.iter().map(|name| format!("\"{}\"", bare(name))).collect();
                let names = match names.is_empty() {
                    true => "it has no name (subjectAltName)".to_owned(),
                    false => format!("it is for {}", names.join(", ")),
                };
                let expected = expected.to_str();
                format!(
                    "is not valid for \"{expected}\"; {names}. Add \"{expected}\" to its subjectAltName, or set \
                     {section}.{key} to a name that it has"
                )
            }
            CertificateError::ExpiredContext { not_after, .. } => {
                format!("has expired on {}: renew it, and {restart}", Date::from_unix(not_after.as_secs()))
            }
            CertificateError::NotValidYetContext { not_before, .. } => format!(
                "is valid only from {} on: compare the clocks of both hosts",
                Date::from_unix(not_before.as_secs())
            ),
            CertificateError::UnknownIssuer => match &self.settings.ca {
                Some(path) => format!(
                    "is not signed by a CA in {section}.ca \"{}\": add the CA that has signed it to this file; {who} must \
                     send the certificates of intermediate CAs",
                    path.display()
                ),
                None if self.settings.application.is_none() => format!(
                    "is not signed by a CA that this host trusts: set {section}.ca to a file with the CA that has signed it"
                ),
                None => format!(
                    "is not signed by a CA that this host trusts: set {section}.ca to a file with the CA that has signed it, or \
                     {section}.insecure = true to accept every certificate, as nginx does without proxy_ssl_verify"
                ),
            },
            CertificateError::BadSignature => format!(
                "has a signature that is not from the CA of that name in {section}.ca: after a CA was made anew, its \
                 certificates must be made anew, too"
            ),
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                "is not for servers: its extendedKeyUsage must have serverAuth, or be absent".to_owned()
            }
            CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
                format!("is the certificate of a CA: {who} must have a certificate that the CA has signed")
            }
            other => format!("cannot be used: {other}"),
        }
    }

    fn alert(&self, alert: AlertDescription) -> String {
        let section = &self.settings.section;
        match alert {
            AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
                format!(
                    "it requires a client's certificate: set {section}.client_cert and {section}.client_key"
                )
            }
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA => {
                format!("it does not accept the certificate of {section}.client_cert ({alert:?})")
            }
            AlertDescription::UnrecognisedName => {
                "it has no server of this name (ssl_reject_handshake, or a wrong name)".to_owned()
            }
            AlertDescription::ProtocolVersion => {
                "it speaks neither TLS 1.2 nor TLS 1.3 (ssl_protocols)".to_owned()
            }
            other => format!("{other:?}"),
        }
    }
}

/// A name without the kind that rustls writes around it, as in `DnsName("shop.test")`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    inner.trim_matches('"')
}
