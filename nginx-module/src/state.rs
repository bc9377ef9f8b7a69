//! The state of one cycle: the state file that its master holds, and the memory that is mapped for it.
//!
//! The descriptor stays open across exec on purpose: the master that a binary upgrade starts finds it among its own and so
//! shares the lock of the old master, while any other nginx is turned away. Workers close it; they have the mapping, and each
//! has an opening of the file of its own to flush it by.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::{OwnedFd, RawFd};

use ngx::ffi::{NGX_LOG_CRIT, NGX_LOG_WARN, ngx_log_t};

use crate::ext;
use crate::group::{Group, Slot};
use crate::memory::Memory;
use crate::memory::error::StateError;
use crate::memory::file::{self, Identity};

mod commit;
mod leftovers;
mod lock;
mod open;

pub(crate) use leftovers::close_leftovers;
pub(crate) use lock::Origin;
pub(crate) use open::open;

use lock::LockedFile;

/// The state of one cycle.
pub(crate) struct State {
    file: LockedFile,
    /// Boxed: it stays where it is when the state moves.
    memory: Box<Memory>,
    /// The first state of this nginx: no other process uses the file.
    fresh: bool,
}

impl State {
    /// Begins to count as this process.
    pub(crate) fn enter_worker(&self, groups: &[Box<Group>], log: *mut ngx_log_t) {
        let slots = groups.iter().flat_map(|group| &group.slots);
        self.memory.enter_worker(slots.flat_map(Slot::cells), log);
        // The keys come from the system, but before the fork: the id makes them this process's own.
        let keys = RandomState::new();
        for group in groups {
            group.process.dice.seed(keys.hash_one((std::process::id(), group.record())));
        }
    }

    /// Closes what only the master needs, so that a process it leaves behind does not hold the lock.
    pub(crate) fn leave_master(&self) {
        self.file.close();
        self.memory.memfd.close();
    }

    /// Whether no other process uses the file: not the master that this one replaces, and no workers of before.
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// The counters for the next cycle, if it has the same file.
    fn counters_of(&self, identity: Identity) -> Option<OwnedFd> {
        if identity == self.file.identity() { self.memory.memfd.share() } else { None }
    }

    fn uses(&self, fd: RawFd) -> bool {
        self.file.number() == Some(fd) || self.memory.memfd.uses(fd)
    }

    /// Opens the file once more for each worker, which a worker itself may not.
    pub(crate) fn open_for_workers(&self, workers: usize, log: *mut ngx_log_t) {
        let path = self.file.path();
        let opened: Result<Vec<File>, StateError> =
            (0..workers).map(|_| file::open_again(path, self.memory.routes_file())).collect();
        match opened {
            Ok(files) => self.memory.keep_for_workers(files),
            // They flush by the opening that they have in common.
            Err(error) => ext::log(NGX_LOG_WARN, log, format_args!("cutover_state: {error}")),
        }
    }

    /// The configuration runs from now on: only its slots may be switched to. A switch that an old worker made meanwhile to a
    /// slot that is gone is taken back to where the traffic was.
    pub(crate) fn commit(&self, groups: &[Box<Group>], log: *mut ngx_log_t) {
        self.memory.memfd.come_back();
        self.write_or_log(log, |descriptor| commit::write_configured(descriptor, groups));
        groups.iter().for_each(|group| commit::take_back(group, log));
    }

    /// Whether both use one file.
    pub(crate) fn is_same_file(&self, other: &Self) -> bool {
        self.file.identity() == other.file.identity()
    }

    /// Another configuration runs from now on. Unless it has the same file, the workers of this one may change nothing more: no
    /// other process would see it.
    pub(crate) fn leave_to(
        &self,
        own: &[Box<Group>],
        next: Option<(&Self, &[Box<Group>])>,
        log: *mut ngx_log_t,
    ) {
        if next.is_some_and(|(next, _)| self.is_same_file(next)) {
            return;
        }
        self.memory.memfd.leave_behind();
        let (_, groups) = next.unzip();
        commit::carry_over(own, groups.unwrap_or_default(), log);
    }

    /// The master that a binary upgrade has started ends before the old one: the old one's slots may be switched to again.
    pub(crate) fn give_back(&self, log: *mut ngx_log_t) {
        self.write_or_log(log, commit::give_back);
    }

    fn write_or_log(&self, log: *mut ngx_log_t, write: impl FnOnce(&OwnedFd) -> io::Result<()>) {
        if let Some(Err(error)) = self.file.with_descriptor(|descriptor| Some(write(descriptor))) {
            ext::log(
                NGX_LOG_CRIT,
                log,
                format_args!("cutover_state: writing \"{}\" failed: {error}", self.file.path().display()),
            );
        }
    }
}
