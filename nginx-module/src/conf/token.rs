//! The token of the admin API over TCP: read from a file by the user that starts nginx, never shown, compared in constant time.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use cutover_core::token::{self, BadFile, Facts};
use subtle::ConstantTimeEq;

/// Why a file holds no token that can be used. The text follows the directive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error(transparent)]
    Bad(#[from] BadFile),
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
        let facts = Facts { owner: meta.uid(), mode: meta.mode(), length: meta.len() };
        facts.check(rustix::process::geteuid().as_raw())?;
        let content = fs::read(path)?;
        Ok(Self(token::parse(&content)?.to_vec()))
    }

    /// Whether a value of the header `Authorization` carries it.
    pub(crate) fn is_in(&self, authorization: &[u8]) -> bool {
        let Some((scheme, given)) = authorization.split_at_checked(SCHEME.len()) else { return false };
        scheme.eq_ignore_ascii_case(SCHEME) && bool::from(given.trim_ascii().ct_eq(&self.0))
    }
}

const SCHEME: &[u8] = b"Bearer ";
