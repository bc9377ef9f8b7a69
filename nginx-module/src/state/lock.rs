//! The lock of the state file: one nginx holds it, over reloads and binary upgrades.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::memory::descriptors;
use crate::memory::error::{StateError, failed};
use crate::memory::file::{self, Identity};

/// Where the configuration that is being loaded comes from.
#[derive(Clone, Copy)]
pub(crate) enum Origin<T> {
    /// A reload: another cycle of this process is running, with this state; none if its module is another file.
    Cycle(Option<T>),
    /// The process has just started, perhaps by exec from the master that it replaces.
    Exec,
}

impl<T> Origin<T> {
    pub(super) fn map<U>(self, part: impl FnOnce(T) -> U) -> Origin<U> {
        match self {
            Self::Cycle(state) => Origin::Cycle(state.map(part)),
            Self::Exec => Origin::Exec,
        }
    }
}

/// The state file as a master has opened it. Its descriptor holds the lock.
pub(super) struct LockedFile {
    path: PathBuf,
    identity: Identity,
    /// Taken out by workers.
    descriptor: Cell<Option<OwnedFd>>,
}

impl LockedFile {
    pub(super) fn new(path: PathBuf, identity: Identity, descriptor: OwnedFd) -> Self {
        Self { path, identity, descriptor: Cell::new(Some(descriptor)) }
    }

    /// Where the file is, without symbolic links.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    /// The number of the descriptor.
    pub(super) fn number(&self) -> Option<RawFd> {
        self.with_descriptor(|descriptor| Some(descriptor.as_raw_fd()))
    }

    /// The same lock for the next cycle.
    fn share(&self) -> Option<OwnedFd> {
        self.with_descriptor(|descriptor| descriptor.try_clone().ok())
    }

    pub(super) fn close(&self) {
        self.descriptor.take();
    }

    pub(super) fn with_descriptor<T>(&self, use_it: impl FnOnce(&OwnedFd) -> Option<T>) -> Option<T> {
        let descriptor = self.descriptor.take()?;
        let result = use_it(&descriptor);
        self.descriptor.set(Some(descriptor));
        result
    }
}

/// Gives back a descriptor that holds the lock of the file: one that shares the lock this nginx has, or `file` with a new
/// lock.
pub(super) fn share_or_lock(
    path: &Path,
    file: File,
    origin: Origin<&LockedFile>,
) -> Result<File, StateError> {
    refuse_if_held(path, origin)?;
    let failed = |error: io::Error| failed("locking", path, error);
    let identity = file::identity(&file).map_err(failed)?;
    let known = match origin {
        Origin::Cycle(Some(locked)) if locked.path() == path && locked.identity() != identity => {
            return Err(replaced(path, locked.number()));
        }
        Origin::Cycle(Some(locked)) => locked.share().map(File::from),
        Origin::Cycle(None) | Origin::Exec => find(path, origin).map(File::from),
    };
    let same = |known: &File| file::identity(known).is_ok_and(|other| other == identity);
    let file = known.filter(same).unwrap_or(file);
    descriptors::keep_over_exec(&file).map_err(failed)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(StateError::InUse { path: path.to_owned(), hint: hint() }),
        Err(error) => Err(failed(error.into())),
    }
}

/// An upgrade, or a module from another path, finds its descriptors in /proc only.
fn hint() -> &'static str {
    if Path::new(descriptors::LIST).exists() {
        ""
    } else {
        " (or mount /proc: without it an upgrade cannot know its own lock)"
    }
}

/// Refuses if this nginx holds a file of this path that is no longer there: its workers would go on with the old routes
/// and new ones with others.
pub(super) fn refuse_if_held(path: &Path, origin: Origin<&LockedFile>) -> Result<(), StateError> {
    if let Origin::Cycle(Some(locked)) = origin
        && locked.path() == path
        && !path.exists()
    {
        return Err(replaced(path, locked.number()));
    }
    let mut gone = path.as_os_str().to_owned();
    gone.push(" (deleted)");
    let held = descriptors::kept_over_exec().find(|(_, link)| link.as_os_str() == gone);
    held.map_or(Ok(()), |(fd, _)| Err(replaced(path, Some(fd))))
}

fn replaced(path: &Path, held: Option<RawFd>) -> StateError {
    let held =
        held.map_or_else(|| "the old file".to_owned(), |fd| format!("/proc/{}/fd/{fd}", std::process::id()));
    StateError::Replaced { path: path.to_owned(), held }
}

/// The descriptor of the file that the system shows under this path, if this process has one.
pub(super) fn find<T>(link: &Path, origin: Origin<T>) -> Option<OwnedFd> {
    match origin {
        Origin::Exec => descriptors::take(link),
        Origin::Cycle(_) => descriptors::copy(link),
    }
}
