//! Waiting for the disk, so that no request waits for it.
//!
//! The kernel waits, where it can ([`aio`]); elsewhere (before Linux 4.18, `fs.aio-max-nr` used up, a sandbox without it) a
//! thread does. The thread comes second because it leaves something behind: glibc never again takes its short ways through
//! `malloc` and system calls in a process that once had two threads, and each later request pays for that.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsFd, OwnedFd};
use std::ptr;
use std::sync::{Arc, OnceLock};
use std::thread;

use cutover_core::flush::{Ledger, Ticket};
use rustix::event::EventfdFlags;

use aio::Queue;

mod aio;

/// A flush of the routes: how it went, and an eventfd that says when.
pub(crate) struct Bell {
    ticket: Ticket,
    /// Given when the flush begins.
    number: OnceLock<u64>,
    /// How the kernel, or the thread, has ended it.
    ended: OnceLock<io::Result<()>>,
    /// What may be told of it.
    outcome: OnceLock<io::Result<()>>,
    eventfd: OwnedFd,
}

impl Bell {
    /// For a change that is made after its ticket was taken.
    pub(crate) fn new(ticket: Ticket) -> io::Result<Arc<Self>> {
        let eventfd = rustix::event::eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Arc::new(Self {
            ticket,
            number: OnceLock::new(),
            ended: OnceLock::new(),
            outcome: OnceLock::new(),
            eventfd,
        }))
    }

    /// Another descriptor of the eventfd.
    pub(crate) fn ear(&self) -> io::Result<OwnedFd> {
        self.eventfd.try_clone()
    }

    /// How the flush went; `None`: it is not known yet. To be asked again when the bell rings.
    pub(crate) fn outcome(&self) -> Option<&io::Result<()>> {
        collect();
        self.outcome.get()
    }

    fn ring(&self) {
        // An eventfd takes many rings at once.
        let _ = rustix::io::write(&self.eventfd, &1u64.to_ne_bytes());
    }

    fn settle(&self, on_disk: bool) {
        let _ = self.outcome.set(match self.ended.get() {
            Some(Err(error)) => Err(copy(error)),
            _ if on_disk => Ok(()),
            _ => Err(io::Error::other("another flush at the same time failed")),
        });
        self.ring();
    }
}

fn copy(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// The flushes of this process. After a fork the parent's are none of the child's.
struct Flushes {
    process: u32,
    ledger: Ledger<Arc<Bell>>,
    /// Those that a thread waits for.
    on_threads: Vec<Arc<Bell>>,
}

thread_local! {
    /// nginx does all its work on one thread.
    static FLUSHES: RefCell<Option<Flushes>> = const { RefCell::new(None) };
}

fn of_this_process<R>(work: impl FnOnce(&mut Flushes) -> R) -> R {
    let process = std::process::id();
    FLUSHES.with_borrow_mut(|flushes| {
        drop(flushes.take_if(|flushes| flushes.process != process));
        work(flushes.get_or_insert_with(|| Flushes {
            process,
            ledger: Ledger::default(),
            on_threads: Vec::new(),
        }))
    })
}

/// To be taken before the routes are changed: a flush that fails from here on may have lost the change.
pub(crate) fn ticket() -> Ticket {
    collect();
    of_this_process(|flushes| flushes.ledger.ticket())
}

/// Begins to bring the routes to disk; the bell rings when they are there, or cannot be.
pub(crate) fn begin(routes: &File, bell: &Arc<Bell>) {
    if start(routes, bell).is_err() {
        // No thread or no descriptor to be had: late is better than not durable.
        number(bell);
        let _ = bell.ended.set(routes.sync_data());
        end(bell);
    }
}

/// Brings the routes to disk when it can: nobody waits for it. What cannot be flushed so the kernel writes by itself, a little
/// later. Whoever waits for another flush at the same time is told if this one fails.
pub(crate) fn routes_in_background(routes: &File) {
    if let Ok(bell) = Bell::new(ticket()) {
        let _ = start(routes, &bell);
    }
}

/// The same for another file, of which nobody is ever told.
pub(crate) fn in_background(file: &File) {
    // Each that is done keeps its place in the queue until it is collected.
    collect();
    let queued = Queue::of_this_process().is_some_and(|queue| queue.submit(file.as_fd(), None, 0).is_ok());
    if !queued && let Ok(file) = file.try_clone() {
        let _ = on_a_thread(move || {
            let _ = file.sync_data();
        });
    }
}

fn start(routes: &File, bell: &Arc<Bell>) -> io::Result<()> {
    if queue(routes, bell).is_err() {
        let (file, for_thread) = (routes.try_clone()?, Arc::clone(bell));
        on_a_thread(move || {
            let _ = for_thread.ended.set(file.sync_data());
            for_thread.ring();
        })?;
        of_this_process(|flushes| flushes.on_threads.push(Arc::clone(bell)));
    }
    number(bell);
    Ok(())
}

fn number(bell: &Bell) {
    let _ = bell.number.set(of_this_process(|flushes| flushes.ledger.begin()));
}

fn queue(file: &File, bell: &Arc<Bell>) -> io::Result<()> {
    let queue = Queue::of_this_process().ok_or(io::ErrorKind::Unsupported)?;
    collect();
    // The kernel's own: `collect` takes it back.
    let raw = Arc::into_raw(Arc::clone(bell));
    queue.submit(file.as_fd(), Some(bell.eventfd.as_fd()), raw.expose_provenance() as u64).inspect_err(|_| {
        // SAFETY: made just now, and the kernel did not take it.
        drop(unsafe { Arc::from_raw(raw) });
    })
}

/// Takes the outcomes of those flushes that are done.
fn collect() {
    let mut done = Vec::new();
    if let Some(queue) = Queue::of_this_process() {
        queue.collect(|data, outcome| {
            let bell = ptr::with_exposed_provenance::<Bell>(data as usize);
            if !bell.is_null() {
                // SAFETY: given to the kernel by `queue`, and the kernel gives it back once.
                let bell = unsafe { Arc::from_raw(bell) };
                let _ = bell.ended.set(outcome);
                done.push(bell);
            }
        });
    }
    of_this_process(|flushes| {
        let on_threads = mem::take(&mut flushes.on_threads);
        let (ended, waiting) = on_threads.into_iter().partition(|bell| bell.ended.get().is_some());
        flushes.on_threads = waiting;
        done.extend::<Vec<_>>(ended);
    });
    done.iter().for_each(end);
}

/// A flush has ended: whose outcome is known by that is told.
fn end(bell: &Arc<Bell>) {
    let went_well = bell.ended.get().is_some_and(Result::is_ok);
    let number = bell.number.get().copied().unwrap_or(0);
    let known =
        of_this_process(|flushes| flushes.ledger.end(number, went_well, bell.ticket, Arc::clone(bell)));
    known.iter().for_each(|(bell, on_disk)| bell.settle(*on_disk));
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
