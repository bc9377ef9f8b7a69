//! The PEM files of a TLS client.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, InconsistentKeys, RootCertStore};

use super::identity::Identity;
use super::insecure::AnyCertificate;
use super::{ClientFiles, TlsSettings};

/// Maximum length of a file in bytes. The CAs of a whole system have 250 KB.
const MOST: u64 = 4 * 1024 * 1024;
/// The mode of a key that others can read or write.
const OPEN_TO_OTHERS: u32 = 0o027;

/// Why a file cannot be used. The text names its key and the file.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{shown} {why}")]
pub struct FileError {
    /// The key and the path, or the section.
    shown: String,
    why: Why,
}

#[derive(Clone, Debug, thiserror::Error)]
enum Why {
    #[error("does not exist")]
    Missing,
    #[error("cannot be read by the user with id {user}: {error}")]
    Read { user: u32, error: String },
    #[error("is not a regular file")]
    NoFile,
    #[error("has more than {MOST} bytes")]
    Large,
    #[error("is not a PEM file: {0}")]
    Pem(String),
    #[error("has no certificate: expected a PEM file with \"BEGIN CERTIFICATE\"")]
    NoCertificate,
    #[error("has no certificate of a CA that can be used: {0}")]
    NoRoot(String),
    #[error("has no private key: expected a PEM file with \"BEGIN PRIVATE KEY\"")]
    NoKey,
    #[error(
        "has a private key with a passphrase, and nobody could enter it: remove the passphrase, as with \
         \"openssl pkey -in OLD -out NEW\""
    )]
    EncryptedKey,
    #[error(
        "belongs to the user with id {0}, who could replace it: change its owner to root or to the reading user"
    )]
    Owner(u32),
    #[error(
        "can be read or written by others (mode {0:04o}): set its mode to 0600, or to 0640 for a group that may read it"
    )]
    Mode(u32),
    #[error("has a private key that cannot be used: {0}")]
    BadKey(String),
    #[error("is not the key of the certificate in {0}")]
    OtherKey(String),
    #[error("has a certificate that cannot be used: {0}")]
    BadCertificate(String),
    #[error("has no CA that this host trusts: install ca-certificates, or set \"ca\"{0}")]
    NoSystemRoots(String),
    #[error("{0}")]
    Internal(String),
}

impl FileError {
    /// The files of a section could not be read at all.
    pub(super) fn unread(section: &str, error: &io::Error) -> Self {
        Self { shown: section.to_owned(), why: Why::Internal(error.to_string()) }
    }
}

/// What was read from the files.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    stamps: Vec<Option<Stamp>>,
    pub(super) config: Arc<ClientConfig>,
    pub(super) identity: Arc<Identity>,
}

/// Differs when a file has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    /// Seconds and nanoseconds of the last change of content, and of content or metadata.
    times: [i64; 4],
}

/// Reads the files, unless they are as they were `before`. When they cannot be used, the result is what was read before.
pub(super) fn load(settings: &TlsSettings, before: Option<Loaded>) -> Result<Loaded, FileError> {
    // Taken before the files are read: a change in between is seen next time.
    let stamps = stamps(settings);
    match before {
        Some(before) if before.stamps == stamps => Ok(before),
        Some(before) => Ok(read(settings, stamps).unwrap_or(before)),
        None => read(settings, stamps),
    }
}

fn stamps(settings: &TlsSettings) -> Vec<Option<Stamp>> {
    let client = settings.client.iter().flat_map(|files| [&files.certificate, &files.key]);
    settings.ca.iter().chain(client).map(|path| Stamp::of(path)).collect()
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let facts = fs::metadata(path).ok()?;
        Some(Self {
            device: facts.dev(),
            inode: facts.ino(),
            length: facts.len(),
            times: [facts.mtime(), facts.mtime_nsec(), facts.ctime(), facts.ctime_nsec()],
        })
    }
}

fn read(settings: &TlsSettings, stamps: Vec<Option<Stamp>>) -> Result<Loaded, FileError> {
    let provider = Arc::new(ring::default_provider());
    let roots = match &settings.ca {
        _ if settings.application.is_some_and(|application| application.insecure) => RootCertStore::empty(),
        Some(path) => roots_of(&File::new(settings, "ca", path))?,
        None => system_roots(settings)?,
    };
    let key = settings.client.as_ref().map(|files| identity_of(settings, files, &provider)).transpose()?;
    let identity = Arc::new(Identity::new(key));
    let internal = |error: rustls::Error| FileError {
        shown: settings.section.clone(),
        why: Why::Internal(error.to_string()),
    };
    let application = settings.application.unwrap_or_default();
    let config =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let config = config.map_err(internal)?.with_root_certificates(roots);
    let mut config = config.with_client_cert_resolver(Arc::clone(&identity) as Arc<_>);
    config.resumption = Resumption::disabled();
    if application.insecure {
        config.dangerous().set_certificate_verifier(Arc::new(AnyCertificate(provider)));
    }
    if application.http2 {
        config.alpn_protocols = vec![b"h2".to_vec()];
    }
    Ok(Loaded { stamps, config: Arc::new(config), identity })
}

/// One file with its key, for messages.
struct File<'a> {
    shown: String,
    path: &'a PathBuf,
}

impl<'a> File<'a> {
    fn new(settings: &TlsSettings, key: &str, path: &'a PathBuf) -> Self {
        Self { shown: format!("{}.{key} \"{}\"", settings.section, path.display()), path }
    }

    fn error(&self, why: Why) -> FileError {
        FileError { shown: self.shown.clone(), why }
    }

    fn unreadable(&self, error: &io::Error) -> FileError {
        self.error(match error.kind() {
            io::ErrorKind::NotFound => Why::Missing,
            _ => Why::Read { user: rustix::process::geteuid().as_raw(), error: error.to_string() },
        })
    }

    fn facts(&self) -> Result<fs::Metadata, FileError> {
        let facts = fs::metadata(self.path).map_err(|error| self.unreadable(&error))?;
        if !facts.is_file() {
            // Reading a pipe would block.
            return Err(self.error(Why::NoFile));
        }
        if facts.len() > MOST { Err(self.error(Why::Large)) } else { Ok(facts) }
    }

    fn content(&self) -> Result<Vec<u8>, FileError> {
        self.facts()?;
        fs::read(self.path).map_err(|error| self.unreadable(&error))
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, FileError> {
        let content = self.content()?;
        let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&content).collect();
        let found = found.map_err(|error| self.error(Why::Pem(error.to_string())))?;
        if found.is_empty() { Err(self.error(Why::NoCertificate)) } else { Ok(found) }
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, FileError> {
        let facts = self.facts()?;
        if facts.uid() != 0 && facts.uid() != rustix::process::geteuid().as_raw() {
            return Err(self.error(Why::Owner(facts.uid())));
        }
        if facts.mode() & OPEN_TO_OTHERS != 0 {
            return Err(self.error(Why::Mode(facts.mode() & 0o7777)));
        }
        let content = self.content()?;
        match PrivateKeyDer::from_pem_slice(&content) {
            Ok(key) => Ok(key),
            Err(pem::Error::NoItemsFound) => {
                let text = String::from_utf8_lossy(&content);
                Err(self.error(match text.contains("ENCRYPTED") {
                    true => Why::EncryptedKey,
                    false => Why::NoKey,
                }))
            }
            Err(error) => Err(self.error(Why::Pem(error.to_string()))),
        }
    }
}

fn roots_of(file: &File<'_>) -> Result<RootCertStore, FileError> {
    let mut roots = RootCertStore::empty();
    for certificate in file.certificates()? {
        roots.add(certificate).map_err(|error| file.error(Why::NoRoot(error.to_string())))?;
    }
    Ok(roots)
}

/// The CAs that this host trusts. Those that rustls cannot use are left out, as other programs do.
fn system_roots(settings: &TlsSettings) -> Result<RootCertStore, FileError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let errors: String = found.errors.iter().map(|error| format!("; {error}")).collect();
        return Err(FileError { shown: settings.section.clone(), why: Why::NoSystemRoots(errors) });
    }
    Ok(roots)
}

fn identity_of(
    settings: &TlsSettings,
    files: &ClientFiles,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, FileError> {
    let certificate = File::new(settings, "client_cert", &files.certificate);
    let key = File::new(settings, "client_key", &files.key);
    let (chain, private) = (certificate.certificates()?, key.key()?);
    let private = provider
        .key_provider
        .load_private_key(private)
        .map_err(|error| key.error(Why::BadKey(error.to_string())))?;
    let identity = CertifiedKey::new(chain, private);
    match identity.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(identity),
        Err(rustls::Error::InconsistentKeys(_)) => Err(key.error(Why::OtherKey(certificate.shown))),
        Err(error) => Err(certificate.error(Why::BadCertificate(error.to_string()))),
    }
}
