//! Descriptors that this process already has: from the cycle before, or from the master that a binary upgrade replaces.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::{Errno, FdFlags};

use super::{State, StateError, file};

const DESCRIPTORS: &str = "/proc/self/fd";

/// Where the configuration that is being loaded comes from.
#[derive(Clone, Copy)]
pub(crate) enum Origin<'a> {
    /// A reload: another cycle of this process is running, with this state; none if its module is another file.
    Cycle(Option<&'a State>),
    /// The process has just started, perhaps by exec from the master that it replaces.
    Exec,
}

/// Gives back a descriptor that holds the lock of the file: one that shares the lock this nginx has, or `file` with a new
/// lock.
pub(super) fn share_or_lock(path: &Path, file: File, origin: Origin<'_>) -> Result<File, StateError> {
    refuse_if_held(path, origin)?;
    let failed = |error: io::Error| file::failed("locking", path, error);
    let identity = file::identity(&file).map_err(failed)?;
    let known = match origin {
        Origin::Cycle(Some(state)) if state.path() == path && state.identity() != identity => {
            return Err(replaced(path, state.descriptor_number()));
        }
        Origin::Cycle(Some(state)) => state.share().map(File::from),
        Origin::Cycle(None) | Origin::Exec => find(path, origin).map(File::from),
    };
    let same = |known: &File| file::identity(known).is_ok_and(|other| other == identity);
    let file = known.filter(same).unwrap_or(file);
    keep_over_exec(&file).map_err(failed)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(StateError::InUse { path: path.to_owned(), hint: hint() }),
        Err(error) => Err(failed(error.into())),
    }
}

/// An upgrade, or a module from another path, finds its descriptors in /proc only.
fn hint() -> &'static str {
    if Path::new(DESCRIPTORS).exists() {
        ""
    } else {
        " (or mount /proc: without it an upgrade cannot know its own lock)"
    }
}

/// Refuses if this nginx holds a file of this path that is no longer there: its workers would go on with the old routes
/// and new ones with others.
pub(super) fn refuse_if_held(path: &Path, origin: Origin<'_>) -> Result<(), StateError> {
    if let Origin::Cycle(Some(state)) = origin
        && state.path() == path
        && !path.exists()
    {
        return Err(replaced(path, state.descriptor_number()));
    }
    let mut gone = path.as_os_str().to_owned();
    gone.push(" (deleted)");
    let held = kept_over_exec().find(|(_, link)| link.as_os_str() == gone);
    held.map_or(Ok(()), |(fd, _)| Err(replaced(path, Some(fd))))
}

fn replaced(path: &Path, held: Option<RawFd>) -> StateError {
    let held =
        held.map_or_else(|| "the old file".to_owned(), |fd| format!("/proc/{}/fd/{fd}", std::process::id()));
    StateError::Replaced { path: path.to_owned(), held }
}

/// After a binary upgrade: closes what the old master had and this configuration does not use, so that workers do not inherit
/// it and another nginx can have the lock.
pub(crate) fn close_leftovers(in_use: Option<&State>) {
    let ours = |fd: RawFd| in_use.is_some_and(|state| state.uses(fd));
    let left: Vec<RawFd> = kept_over_exec()
        .filter(|(fd, link)| {
            let name = link.file_name().unwrap_or_default().to_string_lossy();
            let memory = link.to_string_lossy().starts_with("/memfd:cutover:");
            let routes = name.starts_with(file::NAME) && file::is_state_file(*fd);
            (memory || routes) && !ours(*fd)
        })
        .map(|(fd, _)| fd)
        .collect();
    for fd in left {
        // SAFETY: came over exec, so no owner in this process knows of it.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
    }
}

/// The descriptor of a file in memory with this name, if this process has one.
pub(crate) fn memory_file(name: &str, origin: Origin<'_>) -> Option<OwnedFd> {
    let link = PathBuf::from(format!("/memfd:{name} (deleted)"));
    let found = find(&link, origin)?;
    keep_over_exec(&found).ok()?;
    Some(found)
}

fn find(link: &Path, origin: Origin<'_>) -> Option<OwnedFd> {
    let (fd, _) = kept_over_exec().find(|(_, known)| known == link)?;
    match origin {
        // SAFETY: came over exec, so no owner in this process knows of it.
        Origin::Exec => Some(unsafe { OwnedFd::from_raw_fd(fd) }),
        // SAFETY: just read from this process's table, and the master has one thread to close it with.
        Origin::Cycle(_) => unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned().ok(),
    }
}

/// The descriptors that an upgrade inherits, or has inherited, and what they are of. The other openings of a state file, by
/// which it is flushed, are not among them.
fn kept_over_exec() -> impl Iterator<Item = (RawFd, PathBuf)> {
    let entries = fs::read_dir(DESCRIPTORS).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let fd = entry.file_name().to_str()?.parse().ok()?;
        // SAFETY: the number was just read from this process's own table, and the master has one thread to close it with.
        let flags = rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(fd) }).ok()?;
        let link = fs::read_link(entry.path()).ok()?;
        (!flags.contains(FdFlags::CLOEXEC)).then_some((fd, link))
    })
}

/// The standard library opens everything close-on-exec; a binary upgrade must inherit these.
pub(crate) fn keep_over_exec(fd: impl AsFd) -> io::Result<()> {
    Ok(rustix::io::fcntl_setfd(fd, FdFlags::empty())?)
}
