//! What a binary upgrade leaves behind.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use super::State;
use crate::memory::descriptors::kept_over_exec;
use crate::memory::file;

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
