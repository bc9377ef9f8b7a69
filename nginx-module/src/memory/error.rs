//! Why the state cannot be used.

use std::io;
use std::path::{Path, PathBuf};

use cutover_core::state_file::{Conflict, Damage};

/// The text follows "cutover_state: ".
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error(
        "folder \"{}\" cannot be used: {why}; make it with \"install -d -m 0700 {}\" as the user that starts nginx",
        folder.display(), folder.display()
    )]
    Folder { folder: PathBuf, why: String },
    #[error("{action} \"{}\" failed: {error}", path.display())]
    Io { action: &'static str, path: PathBuf, error: io::Error },
    #[error(
        "state file \"{}\" {damage}; traffic must not follow a guess: restore it from a backup, or remove it to begin \
         with \"active\" of the configuration", path.display()
    )]
    Damaged { path: PathBuf, damage: Damage },
    #[error("file \"{}\" {why}; expected a regular file that only the user who starts nginx can write", path.display())]
    Unsafe { path: PathBuf, why: &'static str },
    #[error(
        "state file \"{}\" is in use by another nginx; stop that one, or give this one a folder of its own{hint}",
        path.display()
    )]
    InUse { path: PathBuf, hint: &'static str },
    #[error(
        "state file \"{}\" was removed or replaced while nginx runs on the old one; copy {held} over it to keep \
         the routes, then stop and start nginx", path.display()
    )]
    Replaced { path: PathBuf, held: String },
    #[error("{0}")]
    Conflict(#[from] Conflict),
    #[error("making shared memory for the counters failed: {0}")]
    Counters(io::Error),
}

/// A call to the system has failed.
pub(crate) fn failed(action: &'static str, path: &Path, error: io::Error) -> StateError {
    StateError::Io { action, path: path.to_owned(), error }
}
