//! The token of the admin API over TCP, from the file that the module reads too.
//!
//! nginx reads the file at its start and at each reload. Until the reload, it expects the old token even if the file holds a
//! new one. So the client keeps the last token that nginx accepted, and reads the file again when nginx refuses that token. A
//! new token needs no restart of the daemon.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use cutover_core::token::{self, BadFile, Facts};
use http::HeaderValue;
use parking_lot::Mutex;

/// Why the token cannot be read. The text completes "no credentials for nginx: ..".
#[derive(Clone, Debug, thiserror::Error)]
#[error("{key} \"{}\" {why}", path.display())]
pub(super) struct TokenError {
    key: String,
    path: PathBuf,
    why: Why,
}

#[derive(Clone, Debug, thiserror::Error)]
enum Why {
    #[error("does not exist: it must be the file that \"cutover_api token_file=\" names in nginx")]
    Missing,
    #[error("cannot be read by the user with id {user}: {error}")]
    Read { user: u32, error: String },
    #[error("is not a regular file")]
    NoFile,
    #[error(transparent)]
    Bad(BadFile),
}

/// The token file, and the last token that nginx accepted. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct TokenFile {
    key: String,
    path: PathBuf,
    taken: Arc<Mutex<Option<Token>>>,
}

/// A value of the header `Authorization`. It is never shown or logged.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Token(HeaderValue);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    pub(super) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl TokenFile {
    /// A token file that has not been read yet. `key` is its key in the configuration.
    pub(super) fn new(key: String, path: &Path) -> Self {
        Self { key, path: path.to_owned(), taken: Arc::default() }
    }

    /// The key and the path, for messages.
    pub(super) fn shown(&self) -> String {
        format!("{} \"{}\"", self.key, self.path.display())
    }

    /// Checks that the file holds a valid token.
    pub(super) async fn check(&self) -> Result<(), TokenError> {
        self.read().await.map(drop)
    }

    /// Reads the token from the file.
    pub(super) async fn read(&self) -> Result<Token, TokenError> {
        let path = self.path.clone();
        // A slow disk must not block an async thread.
        let read = tokio::task::spawn_blocking(move || read(&path)).await;
        let error = |why| TokenError { key: self.key.clone(), path: self.path.clone(), why };
        read.unwrap_or_else(|failed| Err(unreadable(&io::Error::other(failed)))).map_err(error)
    }

    /// The last token that nginx accepted. `None` if there was none, or if nginx has refused it since.
    pub(super) fn taken(&self) -> Option<Token> {
        self.taken.lock().clone()
    }

    pub(super) fn take(&self, token: Option<Token>) {
        *self.taken.lock() = token;
    }
}

fn read(path: &Path) -> Result<Token, Why> {
    let facts = fs::metadata(path).map_err(|error| unreadable(&error))?;
    if !facts.is_file() {
        // Reading a pipe would block.
        return Err(Why::NoFile);
    }
    let facts = Facts { owner: facts.uid(), mode: facts.mode(), length: facts.len() };
    facts.check(rustix::process::geteuid().as_raw()).map_err(Why::Bad)?;
    let content = fs::read(path).map_err(|error| unreadable(&error))?;
    let token = token::parse(&content).map_err(Why::Bad)?;
    let header = [b"Bearer ", token].concat();
    let mut header = HeaderValue::from_bytes(&header).map_err(|_| Why::Bad(BadFile::Content))?;
    header.set_sensitive(true);
    Ok(Token(header))
}

fn unreadable(error: &io::Error) -> Why {
    match error.kind() {
        io::ErrorKind::NotFound => Why::Missing,
        _ => Why::Read { user: rustix::process::geteuid().as_raw(), error: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn errors_name_the_file_and_what_is_right_and_never_the_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let file = TokenFile::new("edge.nginx.token_file".to_owned(), &path);
        let missing = file.check().await.unwrap_err().to_string();
        assert!(missing.starts_with(&format!("edge.nginx.token_file \"{}\" does not exist", path.display())));
        for (content, mode, said) in [
            ("", 0o600, "holds no token: expected one line of 16 to 4096"),
            ("secretsecretsecret two", 0o600, "holds no token"),
            (
                "secretsecretsecret",
                0o644,
                "can be read or written by others (mode 0644): set its mode to 0600",
            ),
        ] {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = file.check().await.unwrap_err().to_string();
            assert!(error.contains(said) && !error.contains("secret"), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let token = file.read().await.unwrap();
        file.take(Some(token.clone()));
        let shown = format!("{token:?} {:?} {file:?}", token.header());
        assert!(!shown.contains("secret"), "{shown}");
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        for other in [folder.path(), &pipe] {
            let error = TokenFile::new("edge.nginx.token_file".to_owned(), other).check().await.unwrap_err();
            assert!(error.to_string().ends_with("is not a regular file"), "{error}");
        }
    }
}
