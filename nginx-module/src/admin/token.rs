//! The token of the admin API over TCP: read from a file by whoever starts nginx, never shown, compared in constant time.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use subtle::ConstantTimeEq;

/// Fewer characters can be guessed.
const MIN_LENGTH: usize = 16;
/// More is not a token.
const MAX_LENGTH: usize = 4096;

/// Why a file holds no token that can be used. The text follows the directive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("belongs to the user with id {0}: make it root's, or that of the user who starts nginx")]
    Owner(u32),
    #[error(
        "can be read or written by others (mode {0:04o}): make it 0600, or 0640 for a group that may know it"
    )]
    Mode(u32),
    #[error("holds no token: expected one line of {MIN_LENGTH} to {MAX_LENGTH} visible ASCII characters")]
    Content,
}

/// A secret.
pub(crate) struct Token(Vec<u8>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    /// Reads the file's one line.
    pub(crate) fn read(path: &Path) -> Result<Self, TokenError> {
        let meta = fs::metadata(path)?;
        if meta.uid() != 0 && meta.uid() != rustix::process::geteuid().as_raw() {
            return Err(TokenError::Owner(meta.uid()));
        }
        if meta.mode() & 0o027 != 0 {
            return Err(TokenError::Mode(meta.mode() & 0o7777));
        }
        if meta.len() > MAX_LENGTH as u64 + 2 {
            return Err(TokenError::Content);
        }
        let content = fs::read(path)?;
        let token = content.trim_ascii();
        let fits = (MIN_LENGTH..=MAX_LENGTH).contains(&token.len());
        if fits && token.iter().all(u8::is_ascii_graphic) {
            Ok(Self(token.to_vec()))
        } else {
            Err(TokenError::Content)
        }
    }

    /// Whether a value of the header `Authorization` carries it.
    pub(crate) fn is_in(&self, authorization: &[u8]) -> bool {
        let Some((scheme, given)) = authorization.split_at_checked(SCHEME.len()) else { return false };
        scheme.eq_ignore_ascii_case(SCHEME) && bool::from(given.trim_ascii().ct_eq(&self.0))
    }
}

const SCHEME: &[u8] = b"Bearer ";
