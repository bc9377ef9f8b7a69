//! The certificate that the client shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;

use super::Certificate;

/// The client's certificate and key, if it has one, and whether a server has asked for it.
#[derive(Debug)]
pub(super) struct Identity {
    key: Option<Arc<CertifiedKey>>,
    was_asked_for: AtomicBool,
}

impl Identity {
    pub(super) fn new(key: Option<CertifiedKey>) -> Self {
        Self { key: key.map(Arc::new), was_asked_for: AtomicBool::new(false) }
    }

    pub(super) fn certificate(&self) -> Option<Certificate> {
        Certificate::parse(self.key.as_ref()?.cert.first()?)
    }

    pub(super) fn was_asked_for(&self) -> bool {
        self.was_asked_for.load(Ordering::Relaxed)
    }
}

impl ResolvesClientCert for Identity {
    /// Shows the certificate whatever CAs the server names: nginx then says what is wrong with it.
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.was_asked_for.store(true, Ordering::Relaxed);
        self.key.clone().filter(|key| key.key.choose_scheme(schemes).is_some())
    }

    /// With `false`, rustls would not call `resolve`.
    fn has_certs(&self) -> bool {
        true
    }
}
