//! Answering when a change is on disk, without making the worker's other requests wait.
//!
//! The eventfd that rings when a flush has ended ([`state::flush::bell`](flush::bell)) is an event of the worker's loop.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use cutover_core::api::{ErrorCode, Failure};
use cutover_core::flush::Ticket;
use ngx::core::Status;
use ngx::ffi::{
    NGX_LOG_CRIT, NGX_LOG_ERR, ngx_add_timer, ngx_connection_t, ngx_cycle, ngx_cycle_t, ngx_del_timer,
    ngx_event_t, ngx_free_connection, ngx_get_connection, ngx_handle_read_event, ngx_http_cleanup_add,
    ngx_http_cleanup_t, ngx_http_request_t, ngx_http_run_posted_requests, ngx_log_t,
};

use super::answer::Answer;
use super::{body, check_rules, describe};
use crate::ext::{self, connection, log};
use crate::group::Group;
use crate::later;
use crate::state::Shared;
use crate::state::flush::{self, Flush};

/// How often a worker looks by itself while requests wait, in milliseconds. The timer is also what keeps a worker that shuts
/// down from leaving before the answers are out.
const LOOK_AGAIN: usize = 1000;

/// The requests of this worker that wait for the disk. nginx is single-threaded.
struct Waiters {
    /// The bell's connection, or null.
    ear: Cell<*mut ngx_connection_t>,
    /// Set while somebody waits; null where none was started.
    timer: Cell<*mut ngx_event_t>,
    waiting: RefCell<Vec<Waiting>>,
    /// How many have waited.
    count: Cell<usize>,
}

thread_local! {
    static WAITERS: Waiters = const { Waiters {
        ear: Cell::new(ptr::null_mut()),
        timer: Cell::new(ptr::null_mut()),
        waiting: RefCell::new(Vec::new()),
        count: Cell::new(0),
    } };
}

struct Waiting {
    number: usize,
    request: NonNull<ngx_http_request_t>,
    /// Tells when nginx ends the request meanwhile (`worker_shutdown_timeout`, an error of the client's connection).
    cleanup: NonNull<ngx_http_cleanup_t>,
    group: &'static Group,
    /// Once it has begun.
    flush: Option<Arc<Flush>>,
    which: Try,
}

/// The kernel tells each opening of a file what it could not write, also long ago when another worker was told of it. So what
/// fails is written once more, and what becomes of that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Try {
    First,
    Last,
}

/// Begins to listen, in a worker.
pub(crate) fn start(cycle: &ngx_cycle_t) {
    WAITERS.with(|waiters| {
        waiters.timer.set(ext::event(look, cycle.log));
        if let Err(error) = hear(waiters, cycle) {
            // It is tried again when it is needed.
            let message = format_args!("cutover: no eventfd to wait for the disk with: {error}");
            log(NGX_LOG_ERR, cycle.log, message);
        }
    });
}

/// The same process serves another cycle from now on (`master_process off`). Nothing happens where nothing was started.
pub(crate) fn follow(cycle: &ngx_cycle_t) {
    WAITERS.with(|waiters| {
        // SAFETY: null, or made by `start`.
        if let Some(timer) = unsafe { waiters.timer.get().as_mut() } {
            timer.log = cycle.log;
        }
        // SAFETY: null, or a connection of this process.
        if let Some(ear) = unsafe { waiters.ear.get().as_mut() } {
            set_log(ear, cycle.log);
        }
    });
}

fn set_log(ear: &mut ngx_connection_t, log: *mut ngx_log_t) {
    ear.log = log;
    for event in [ear.read, ear.write] {
        // SAFETY: each connection has its events for as long as the process lives.
        unsafe { &mut *event }.log = log;
    }
}

/// Makes the bell a connection of the event loop, as nginx does with the channel to its master.
fn hear(waiters: &Waiters, cycle: &ngx_cycle_t) -> io::Result<()> {
    if !waiters.ear.get().is_null() {
        return Ok(());
    }
    // SAFETY: an open descriptor, and the log of the cycle that this process serves.
    let ear = unsafe { ngx_get_connection(flush::bell()?, cycle.log) };
    // SAFETY: null, or a free connection of this process.
    let c = unsafe { ear.as_mut() }.ok_or(io::ErrorKind::ResourceBusy)?;
    set_log(c, cycle.log);
    // SAFETY: each connection has its events for as long as the process lives.
    let read = unsafe { &mut *c.read };
    read.handler = Some(rung);
    // A worker that ends takes it for what is meant to stay open.
    read.set_channel(1);
    // SAFETY: an event of this process, with a handler.
    if unsafe { ngx_handle_read_event(read, 0) } != Status::NGX_OK.0 {
        let error = io::Error::last_os_error();
        // SAFETY: got above, and in nobody else's hands. The bell itself is not closed.
        unsafe { ngx_free_connection(c) };
        c.fd = -1;
        return Err(error);
    }
    waiters.ear.set(ear);
    Ok(())
}

/// Flushes the route of a group and then answers with the group; the ticket was taken before the route was changed. `Some`: it
/// cannot wait; this is the answer.
pub(super) fn then_answer(
    request: &mut ngx_http_request_t,
    group: &'static Group,
    ticket: Ticket,
) -> Option<Answer> {
    flush(request, group, ticket, Try::First)
}

fn flush(
    request: &mut ngx_http_request_t,
    group: &'static Group,
    ticket: Ticket,
    which: Try,
) -> Option<Answer> {
    let Some(shared) = group.shared() else { return Some(Answer::internal("the state file is not mapped")) };
    // SAFETY: the request that is served.
    let Some(mut cleanup) = NonNull::new(unsafe { ngx_http_cleanup_add(request, 0) }) else {
        let outcome = flush::at_once(shared.routes_file(), ticket);
        let unknown = Err(io::ErrorKind::OutOfMemory.into());
        return Some(answer(group, outcome.outcome().unwrap_or(&unknown), connection(request).log));
    };
    let number = WAITERS.with(|waiters| waiters.count.replace(waiters.count.get().wrapping_add(1)));
    let waiting = Waiting { number, request: request.into(), cleanup, group, flush: None, which };
    // SAFETY: in the request's pool, and the request is alive.
    let place = unsafe { cleanup.as_mut() };
    place.handler = Some(request_ended);
    place.data = ptr::without_provenance_mut(number);
    WAITERS.with(|waiters| {
        waiters.waiting.borrow_mut().push(waiting);
        set_timer(waiters, LOOK_AGAIN);
    });
    // The kernel's own work for it often takes this processor at once.
    later::run(move || begin(number, shared, ticket));
    None
}

/// Begins the flush that somebody waits for.
fn begin(number: usize, shared: &Shared, ticket: Ticket) {
    // SAFETY: set before the worker serves, by this thread.
    let cycle = unsafe { ngx_cycle };
    // SAFETY: as above.
    let cycle = unsafe { &*cycle };
    WAITERS.with(|waiters| {
        // Late is better than not durable.
        let begin = if hear(waiters, cycle).is_ok() { flush::begin } else { flush::at_once };
        let flush = begin(shared.routes_file(), ticket);
        let is_known = flush.outcome().is_some();
        let mut all = waiters.waiting.borrow_mut();
        if let Some(waiting) = all.iter_mut().find(|waiting| waiting.number == number) {
            waiting.flush = Some(flush);
        }
        drop(all);
        if is_known {
            // Not now: this may be within the work for another request.
            set_timer(waiters, 0);
        }
    });
}

/// Sets the timer while somebody waits.
fn set_timer(waiters: &Waiters, after_ms: usize) {
    // SAFETY: null, or made by `start`.
    let Some(timer) = (unsafe { waiters.timer.get().as_mut() }) else { return };
    if timer.timer_set() != 0 {
        // SAFETY: an event of this process, set. Taken off first: nginx leaves a timer where it is if the change is small.
        unsafe { ngx_del_timer(timer) };
    }
    if !waiters.waiting.borrow().is_empty() {
        // SAFETY: the same, not set.
        unsafe { ngx_add_timer(timer, after_ms) };
    }
}

/// nginx ends the request before its answer: the flush goes on, and nobody listens.
unsafe extern "C" fn request_ended(data: *mut c_void) {
    // It logs with the log of the request.
    later::catch_up();
    WAITERS.with(|waiters| {
        waiters.waiting.borrow_mut().retain(|waiting| waiting.number != data.addr());
        set_timer(waiters, LOOK_AGAIN);
    });
}

unsafe extern "C" fn rung(event: *mut ngx_event_t) {
    // SAFETY: nginx passes the event whose handler this is.
    let ear = unsafe { (*event).data }.cast::<ngx_connection_t>();
    // SAFETY: an event's data is its connection: the one that `hear` got.
    let ear = unsafe { &*ear };
    // SAFETY: the bell stays open for as long as the process lives.
    let bell = unsafe { BorrowedFd::borrow_raw(ear.fd) };
    // Nothing is said of who rings, but what is not read away rings for ever where nginx is told so (`use poll`).
    let _ = rustix::io::read(bell, &mut [0; 8]);
    answer_known();
}

unsafe extern "C" fn look(_: *mut ngx_event_t) {
    answer_known();
}

/// Answers those of whose flush it is known how it went.
fn answer_known() {
    flush::collect();
    // One after the other: an answer can end other requests.
    while let Some(waiting) = WAITERS.with(next_to_answer) {
        finish(waiting);
    }
    WAITERS.with(|waiters| set_timer(waiters, LOOK_AGAIN));
}

fn next_to_answer(waiters: &Waiters) -> Option<Waiting> {
    let mut waiting = waiters.waiting.borrow_mut();
    let is_known = |waiting: &Waiting| waiting.flush.as_ref().is_some_and(|flush| flush.outcome().is_some());
    let at = waiting.iter().position(is_known)?;
    Some(waiting.remove(at))
}

fn finish(mut waiting: Waiting) {
    // SAFETY: in the pool of the request, which has not ended, or `request_ended` would have taken this out.
    unsafe { waiting.cleanup.as_mut() }.handler = None;
    // SAFETY: the same.
    let request = unsafe { waiting.request.as_mut() };
    let client = request.connection;
    let Some(outcome) = waiting.flush.as_ref().and_then(|flush| flush.outcome()) else { return };
    let Some(answer) = conclude(request, waiting.group, outcome, waiting.which) else { return };
    body::finish(request, answer);
    // SAFETY: nginx keeps a connection's structure for as long as the worker lives; posted requests run now, as after any
    // event of the client.
    unsafe { ngx_http_run_posted_requests(client) };
    // The event that tells of the change comes after the answer: it is a record for people, and nobody waits for it.
    if let Some(shared) = waiting.group.shared() {
        flush::in_background(shared.events.file());
    }
}

/// The answer, unless it has to wait again. After a failed write the kernel takes the page for clean: it is written once more.
fn conclude(
    request: &mut ngx_http_request_t,
    group: &'static Group,
    outcome: &io::Result<()>,
    which: Try,
) -> Option<Answer> {
    if outcome.is_ok() || which == Try::Last {
        return Some(answer(group, outcome, connection(request).log));
    }
    let ticket = flush::ticket();
    if let Some(word) = group.word() {
        word.touch();
    }
    flush(request, group, ticket, Try::Last)
}

fn answer(group: &Group, outcome: &io::Result<()>, logger: *mut ngx_log_t) -> Answer {
    if let Err(refusal) = check_rules(group) {
        return refusal;
    }
    let Err(error) = outcome else { return Answer::group(&describe::group(group)) };
    log(
        NGX_LOG_CRIT,
        logger,
        format_args!("cutover: the route of group \"{}\" was not flushed to disk: {error}", group.name),
    );
    let message = format!("the change is in force, but it could not be flushed to disk: {error}");
    let failure = Failure::new(ErrorCode::NotDurable, message);
    Answer::failure(Failure { group: Some(Box::new(describe::group(group))), ..failure })
}
