//! Flushing files to disk without blocking the worker.
//!
//! The kernel waits, where it can ([`aio`]); elsewhere (before Linux 4.18, `fs.aio-max-nr` used up, a sandbox without it) a
//! thread does. The thread comes second because it leaves something behind: glibc never again takes its short ways through
//! `malloc` and system calls in a process that once had two threads, and each later request pays for that.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::{Arc, OnceLock};
use std::thread;

use cutover_core::flush::{Ledger, Ticket};
use ngx::ffi::ngx_pid_t;
use rustix::event::EventfdFlags;

use crate::ext;
use aio::Queue;

mod aio;

/// The number of a flush whose result nobody asks for.
const UNASKED: u64 = 0;

/// The result of a flush.
pub(crate) type FlushResult = Result<(), Arc<io::Error>>;

/// A flush of the routes.
pub(crate) struct Flush {
    ticket: Ticket,
    /// Given when it begins.
    number: OnceLock<u64>,
    /// What the kernel, or the thread, has answered.
    ended: OnceLock<FlushResult>,
    /// What may be reported.
    result: OnceLock<FlushResult>,
}

impl Flush {
    /// The result; `None`: not known yet. Ask again when the [`eventfd`] was written to, after [`collect`].
    pub(crate) fn result(&self) -> Option<&FlushResult> {
        self.result.get()
    }

    fn settle(&self, on_disk: bool) {
        let _ = self.result.set(match self.ended.get() {
            Some(Err(error)) => Err(Arc::clone(error)),
            _ if on_disk => Ok(()),
            _ => Err(Arc::new(io::Error::other("another flush at the same time failed"))),
        });
    }
}

/// The flushes of this process. After a fork the parent's are none of the child's.
struct Flushes {
    process: ngx_pid_t,
    /// Written to whenever a flush of the routes has ended.
    eventfd: Option<Arc<OwnedFd>>,
    ledger: Ledger<Arc<Flush>>,
    /// Those that the kernel waits for, by the number that it was given.
    queued: BTreeMap<u64, Arc<Flush>>,
    /// The number that it was given last. 0 is a flush that nobody asks for.
    last_queued: u64,
    /// Those that a thread waits for.
    on_threads: Vec<Arc<Flush>>,
}

thread_local! {
    /// nginx does all its work on one thread.
    static FLUSHES: RefCell<Option<Flushes>> = const { RefCell::new(None) };
}

fn of_this_process<R>(work: impl FnOnce(&mut Flushes) -> R) -> R {
    let process = ext::pid();
    FLUSHES.with_borrow_mut(|flushes| {
        drop(flushes.take_if(|flushes| flushes.process != process));
        work(flushes.get_or_insert_with(|| Flushes {
            process,
            eventfd: None,
            ledger: Ledger::default(),
            queued: BTreeMap::new(),
            last_queued: UNASKED,
            on_threads: Vec::new(),
        }))
    })
}

/// The eventfd that is written to, from the first call on, whenever a flush of the routes has ended. It stays open as long as
/// the process lives.
pub(crate) fn eventfd() -> io::Result<RawFd> {
    of_this_process(|flushes| {
        if let Some(eventfd) = &flushes.eventfd {
            return Ok(eventfd.as_raw_fd());
        }
        let eventfd = rustix::event::eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(flushes.eventfd.insert(Arc::new(eventfd)).as_raw_fd())
    })
}

/// To be taken before the routes are changed: a flush that fails from here on may have lost the change.
pub(crate) fn ticket() -> Ticket {
    collect();
    of_this_process(|flushes| flushes.ledger.ticket())
}

/// Begins to flush the routes, for a change that was made after its ticket was taken.
pub(crate) fn begin(routes: &File, ticket: Ticket) -> Arc<Flush> {
    let flush = new(ticket);
    if start(routes, &flush).is_err() {
        wait_here(routes, &flush);
    }
    flush
}

/// Flushes the routes and waits for the disk. For when no eventfd is available.
pub(crate) fn at_once(routes: &File, ticket: Ticket) -> Arc<Flush> {
    let flush = new(ticket);
    wait_here(routes, &flush);
    flush
}

/// Flushes the routes without anybody waiting for it. If the flush cannot begin, the kernel writes the file by itself a little
/// later. If it fails, a request that waits for another flush at the same time writes once more.
pub(crate) fn routes_in_background(routes: &File) {
    let _ = start(routes, &new(ticket()));
}

/// The same for another file. Its result is never reported.
pub(crate) fn in_background(file: &File) {
    // A flush that has ended keeps its place in the queue until it is collected.
    collect();
    let queued =
        Queue::of_this_process().is_some_and(|queue| queue.submit(file.as_fd(), None, UNASKED).is_ok());
    if !queued && let Ok(file) = file.try_clone() {
        let _ = on_a_thread(move || {
            let _ = file.sync_data();
        });
    }
}

fn new(ticket: Ticket) -> Arc<Flush> {
    Arc::new(Flush { ticket, number: OnceLock::new(), ended: OnceLock::new(), result: OnceLock::new() })
}

fn start(routes: &File, flush: &Arc<Flush>) -> io::Result<()> {
    queue(routes, flush).or_else(|_| wait_on_a_thread(routes, flush))?;
    number(flush);
    Ok(())
}

fn number(flush: &Flush) {
    let _ = flush.number.set(of_this_process(|flushes| flushes.ledger.begin()));
}

fn queue(routes: &File, flush: &Arc<Flush>) -> io::Result<()> {
    let queue = Queue::of_this_process().ok_or(io::ErrorKind::Unsupported)?;
    of_this_process(|flushes| {
        let number = flushes.last_queued + 1;
        queue.submit(routes.as_fd(), flushes.eventfd.as_ref().map(AsFd::as_fd), number)?;
        flushes.last_queued = number;
        flushes.queued.insert(number, Arc::clone(flush));
        Ok(())
    })
}

fn wait_on_a_thread(routes: &File, flush: &Arc<Flush>) -> io::Result<()> {
    let (file, for_thread) = (routes.try_clone()?, Arc::clone(flush));
    let eventfd = of_this_process(|flushes| flushes.eventfd.clone());
    on_a_thread(move || {
        let _ = for_thread.ended.set(file.sync_data().map_err(Arc::new));
        if let Some(eventfd) = eventfd {
            // An eventfd adds up what is written to it.
            let _ = rustix::io::write(&eventfd, &1u64.to_ne_bytes());
        }
    })?;
    of_this_process(|flushes| flushes.on_threads.push(Arc::clone(flush)));
    Ok(())
}

fn wait_here(routes: &File, flush: &Arc<Flush>) {
    number(flush);
    let _ = flush.ended.set(routes.sync_data().map_err(Arc::new));
    end(flush);
}

/// Takes the results of the flushes that have ended.
pub(crate) fn collect() {
    let mut done = Vec::new();
    of_this_process(|flushes| {
        if let Some(queue) = Queue::of_this_process() {
            queue.collect(|number, result| {
                if let Some(flush) = flushes.queued.remove(&number) {
                    let _ = flush.ended.set(result.map_err(Arc::new));
                    done.push(flush);
                }
            });
        }
        done.extend(flushes.on_threads.extract_if(.., |flush| flush.ended.get().is_some()));
    });
    done.iter().for_each(end);
}

/// Notes that a flush has ended, and settles all those whose result is known by that.
fn end(flush: &Arc<Flush>) {
    let went_well = flush.ended.get().is_some_and(Result::is_ok);
    let number = flush.number.get().copied().unwrap_or(0);
    let known =
        of_this_process(|flushes| flushes.ledger.end(number, went_well, flush.ticket, Arc::clone(flush)));
    known.iter().for_each(|(flush, on_disk)| flush.settle(*on_disk));
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
