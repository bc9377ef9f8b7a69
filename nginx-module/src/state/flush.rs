//! Waiting for the disk, so that no request waits for it.
//!
//! The kernel waits, where it can ([`aio`]); elsewhere (before Linux 4.18, `fs.aio-max-nr` used up, a sandbox without it) a
//! thread does. The thread comes second because it leaves something behind: glibc never again takes its short ways through
//! `malloc` and system calls in a process that once had two threads, and each later request pays for that.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr;
use std::sync::{Arc, OnceLock};
use std::thread;

use rustix::event::EventfdFlags;

use aio::Queue;

mod aio;

/// A flush that somebody waits for: how it went, and an eventfd that says when.
pub(crate) struct Bell {
    outcome: OnceLock<io::Result<()>>,
    eventfd: OwnedFd,
}

impl Bell {
    pub(crate) fn new() -> io::Result<Arc<Self>> {
        let eventfd = rustix::event::eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Arc::new(Self { outcome: OnceLock::new(), eventfd }))
    }

    /// Another descriptor of the eventfd.
    pub(crate) fn ear(&self) -> io::Result<OwnedFd> {
        self.eventfd.try_clone()
    }

    /// How the flush went; `None`: it is still under way.
    pub(crate) fn outcome(&self) -> Option<&io::Result<()>> {
        collect();
        self.outcome.get()
    }

    fn ring(&self, outcome: io::Result<()>) {
        let _ = self.outcome.set(outcome);
        // An eventfd that nobody has rung takes one ring at once.
        let _ = rustix::io::write(&self.eventfd, &1u64.to_ne_bytes());
    }
}

/// Begins to bring to disk what was written to a file; the bell rings when it is there, or cannot be.
pub(crate) fn begin(file: &File, bell: &Arc<Bell>) {
    if queue(file, Some(bell)).is_ok() {
        return;
    }
    let (handle, for_thread) = (file.try_clone(), Arc::clone(bell));
    let started = handle.and_then(|file| on_a_thread(move || for_thread.ring(file.sync_data())));
    if started.is_err() {
        // No thread or no descriptor to be had: late is better than not durable.
        bell.ring(file.sync_data());
    }
}

/// Brings what was written to a file to disk when it can: nobody waits for it. What cannot be flushed so the kernel writes
/// by itself, a little later.
pub(crate) fn in_background(file: &File) {
    if queue(file, None).is_err()
        && let Ok(file) = file.try_clone()
    {
        let _ = on_a_thread(move || {
            let _ = file.sync_data();
        });
    }
}

fn queue(file: &File, bell: Option<&Arc<Bell>>) -> io::Result<()> {
    let queue = Queue::of_this_process().ok_or(io::ErrorKind::Unsupported)?;
    // Nobody is told of the end of those that nobody waits for, and each keeps its place until it is collected.
    collect();
    let Some(bell) = bell else { return queue.submit(file.as_fd(), None, 0) };
    // The kernel's own: `collect` takes it back.
    let raw = Arc::into_raw(Arc::clone(bell));
    queue.submit(file.as_fd(), Some(bell.eventfd.as_fd()), raw.expose_provenance() as u64).inspect_err(|_| {
        // SAFETY: made just now, and the kernel did not take it.
        drop(unsafe { Arc::from_raw(raw) });
    })
}

/// Takes the outcomes of those flushes that the kernel has done.
fn collect() {
    let Some(queue) = Queue::of_this_process() else { return };
    queue.collect(|data, outcome| {
        let bell = ptr::with_exposed_provenance::<Bell>(data as usize);
        if !bell.is_null() {
            // SAFETY: given to the kernel by `queue`, and the kernel gives it back once.
            let _ = unsafe { Arc::from_raw(bell) }.outcome.set(outcome);
        }
    });
}

/// Runs `work` on a thread of its own. One for each flush: changes are rare, and a pool would be one more thing to shut down.
fn on_a_thread(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = thread::Builder::new().name("cutover-flush".to_owned());
    without_signals(|| thread.spawn(work)).map(drop)
}

/// nginx's signals must arrive at the thread that waits for events: a new thread inherits the mask of this one.
fn without_signals<T>(start: impl FnOnce() -> T) -> T {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: room for a set.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: the set was just filled, and there is room for the old one.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
    let result = start();
    // SAFETY: the old mask was written above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    result
}
