//! Descriptors that this process already has: from the cycle before, or from the master that a binary upgrade replaces.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use rustix::io::FdFlags;

/// Where the system lists the descriptors of this process.
pub(crate) const LIST: &str = "/proc/self/fd";

/// Takes the descriptor of the file that the system shows under this path. It must have come over exec, and must not
/// be taken yet.
pub(crate) fn take(link: &Path) -> Option<OwnedFd> {
    let fd = find(link)?;
    // SAFETY: came over exec, so no owner in this process knows of it.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes another descriptor of that file.
pub(crate) fn copy(link: &Path) -> Option<OwnedFd> {
    let fd = find(link)?;
    // SAFETY: just read from this process's table. Threads that flush close only descriptors that are close-on-exec.
    unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned().ok()
}

fn find(link: &Path) -> Option<RawFd> {
    kept_over_exec().find(|(_, known)| known == link).map(|(fd, _)| fd)
}

/// The descriptors that an upgrade inherits, or has inherited, and what they are of. The other openings of a state file, by
/// which it is flushed, are not among them.
pub(crate) fn kept_over_exec() -> impl Iterator<Item = (RawFd, PathBuf)> {
    let entries = fs::read_dir(LIST).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let fd = entry.file_name().to_str()?.parse().ok()?;
        // SAFETY: the borrow ends with this call, which only reads flags. If a thread that flushes has closed the number
        // meanwhile, the call fails, or reads the flags of another file of that thread.
        let flags = rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(fd) }).ok()?;
        let link = fs::read_link(entry.path()).ok()?;
        (!flags.contains(FdFlags::CLOEXEC)).then_some((fd, link))
    })
}

/// The standard library opens everything close-on-exec; a binary upgrade must inherit these.
pub(crate) fn keep_over_exec(fd: impl AsFd) -> io::Result<()> {
    Ok(rustix::io::fcntl_setfd(fd, FdFlags::empty())?)
}
