//! Descriptors that this process already has: from the cycle before, or from the master that a binary upgrade replaces.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::{Errno, FdFlags};

use super::{StateError, file};

const DESCRIPTORS: &str = "/proc/self/fd";

/// What a descriptor that is found belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The cycle that is running: it goes on using its own.
    Cycle,
    /// The master before this process, over exec: nobody here has it, so it is taken over.
    Exec,
}

/// Gives back a descriptor that holds the lock of the file: one that shares the lock this nginx has, or `file` with a new
/// lock.
pub(super) fn share_or_lock(path: &Path, file: File, origin: Origin) -> Result<File, StateError> {
    refuse_if_held(path)?;
    let failed = |error: io::Error| file::failed("locking", path, error);
    let identity = file::identity(&file).map_err(failed)?;
    let known = find(path, file.as_raw_fd(), origin).map(File::from);
    let same = |known: &File| file::identity(known).is_ok_and(|other| other == identity);
    let file = known.filter(same).unwrap_or(file);
    keep_over_exec(&file).map_err(failed)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(StateError::InUse { path: path.to_owned() }),
        Err(error) => Err(failed(error.into())),
    }
}

/// Refuses if this nginx holds a file of this path that is no longer there: its workers would go on with the old routes
/// and new ones with others.
pub(super) fn refuse_if_held(path: &Path) -> Result<(), StateError> {
    let mut gone = path.as_os_str().to_owned();
    gone.push(" (deleted)");
    let held = open_descriptors().find(|(_, link)| link.as_os_str() == gone);
    match held {
        None => Ok(()),
        Some((fd, _)) => {
            let held = format!("/proc/{}/fd/{fd}", std::process::id());
            Err(StateError::Replaced { path: path.to_owned(), held })
        }
    }
}

/// The descriptor of a file in memory with this name, if this process has one.
pub(crate) fn memory_file(name: &str, origin: Origin) -> Option<OwnedFd> {
    let link = PathBuf::from(format!("/memfd:{name} (deleted)"));
    let found = find(&link, -1, origin)?;
    keep_over_exec(&found).ok()?;
    Some(found)
}

fn find(link: &Path, except: RawFd, origin: Origin) -> Option<OwnedFd> {
    let (fd, _) = open_descriptors().find(|(fd, known)| *fd != except && known == link)?;
    match origin {
        // SAFETY: came over exec, so no owner in this process knows of it.
        Origin::Exec => Some(unsafe { OwnedFd::from_raw_fd(fd) }),
        // SAFETY: just read from this process's table, and the master has one thread to close it with.
        Origin::Cycle => unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned().ok(),
    }
}

fn open_descriptors() -> impl Iterator<Item = (RawFd, PathBuf)> {
    let entries = fs::read_dir(DESCRIPTORS).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let fd = entry.file_name().to_str()?.parse().ok()?;
        Some((fd, fs::read_link(entry.path()).ok()?))
    })
}

/// The standard library opens everything close-on-exec; a binary upgrade must inherit these.
fn keep_over_exec(fd: impl AsFd) -> io::Result<()> {
    Ok(rustix::io::fcntl_setfd(fd, FdFlags::empty())?)
}
