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
    NGX_LOG_CRIT, NGX_LOG_ERR, ngx_connection_t, ngx_cycle, ngx_cycle_t, ngx_event_t, ngx_free_connection,
    ngx_get_connection, ngx_handle_read_event, ngx_http_cleanup_add, ngx_http_cleanup_t, ngx_http_request_t,
    ngx_http_run_posted_requests, ngx_log_t,
};

use super::answer::Answer;
use super::{body, describe, is_left_behind};
use crate::ext::{self, connection, log};
use crate::group::Group;
use crate::layout::bits;
use crate::state::Shared;
use crate::state::flush::{self, Flush, Outcome};

/// How often a worker looks by itself while requests wait, in milliseconds. The timer is also what keeps a worker that shuts
/// down from leaving before the answers are out.
const LOOK_AGAIN: usize = 1000;

/// The requests of this worker that wait for the disk. nginx is single-threaded.
struct Waiters {
    /// The bell's connection, or null.
    ear: Cell<*mut ngx_connection_t>,
    /// Set while somebody waits; null where none was started.
    timer: Cell<*mut ngx_event_t>,
    /// Posted while a flush is due; null where none was started.
    due: Cell<*mut ngx_event_t>,
    waiting: RefCell<Vec<Waiting>>,
    /// How many have waited.
    count: Cell<usize>,
}

thread_local! {
    static WAITERS: Waiters = const { Waiters {
        ear: Cell::new(ptr::null_mut()),
        timer: Cell::new(ptr::null_mut()),
        due: Cell::new(ptr::null_mut()),
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
    shared: &'static Shared,
    flush: Stage,
    which: Try,
}

enum Stage {
    Due(Ticket),
    Begun(Arc<Flush>),
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
        waiters.due.set(ext::event(begin_due, cycle.log));
        if let Err(error) = waiters.hear(cycle) {
            // It is tried again when it is needed.
            log(NGX_LOG_ERR, cycle.log, format_args!("cutover: cannot listen for the disk: {error}"));
        }
    });
}

/// The same process serves another cycle from now on (`master_process off`). Nothing happens where nothing was started.
pub(crate) fn follow(cycle: &ngx_cycle_t) {
    WAITERS.with(|waiters| {
        for event in [&waiters.timer, &waiters.due] {
            // SAFETY: null, or made by `start`.
            if let Some(event) = unsafe { event.get().as_mut() } {
                event.log = cycle.log;
            }
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

impl Waiters {
    /// Makes the bell a connection of the event loop, as nginx does with the channel to its master.
    fn hear(&self, cycle: &ngx_cycle_t) -> io::Result<()> {
        if !self.ear.get().is_null() {
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
        bits::ngx_event_t::CHANNEL.set(read, true);
        // SAFETY: an event of this process, with a handler.
        if unsafe { ngx_handle_read_event(read, 0) } != Status::NGX_OK.0 {
            // SAFETY: got above, and in nobody else's hands. The bell itself is not closed.
            unsafe { ngx_free_connection(c) };
            c.fd = -1;
            return Err(io::Error::other("the event loop does not take it"));
        }
        self.ear.set(ear);
        Ok(())
    }

    /// The timer runs while somebody waits.
    fn set_timer(&self) {
        // SAFETY: null, or made by `start`.
        let Some(timer) = (unsafe { self.timer.get().as_mut() }) else { return };
        if !self.waiting.borrow().is_empty() {
            ext::wake(timer, LOOK_AGAIN);
        } else {
            ext::rest(timer);
        }
    }

    /// Takes out a request whose flush has finished.
    fn next_to_answer(&self) -> Option<(Waiting, Outcome)> {
        let mut all = self.waiting.borrow_mut();
        let (at, outcome) = all.iter().enumerate().find_map(|(at, waiting)| match &waiting.flush {
            Stage::Begun(flush) => Some((at, flush.outcome()?.clone())),
            Stage::Due(_) => None,
        })?;
        Some((all.remove(at), outcome))
    }
}

/// Flushes the route of a group and then answers with the group; the ticket was taken before the route was changed. `Some`: it
/// cannot wait; this is the answer.
pub(super) fn then_answer(
    request: &mut ngx_http_request_t,
    group: &'static Group,
    ticket: Ticket,
) -> Option<Answer> {
    wait(request, group, ticket, Try::First)
}

fn wait(
    request: &mut ngx_http_request_t,
    group: &'static Group,
    ticket: Ticket,
    which: Try,
) -> Option<Answer> {
    let Some(shared) = group.shared() else { return Some(Answer::internal("the state file is not mapped")) };
    // SAFETY: the request that is served.
    let cleanup = NonNull::new(unsafe { ngx_http_cleanup_add(request, 0) });
    // SAFETY: null, or made by `start`.
    let due = unsafe { WAITERS.with(|waiters| waiters.due.get()).as_mut() };
    let (Some(mut cleanup), Some(due)) = (cleanup, due) else {
        let flush = flush::at_once(shared.routes_file(), ticket);
        return Some(match flush.outcome() {
            Some(outcome) => answer(group, outcome, connection(request).log),
            None => Answer::internal("the change is in force, but whether it is on disk is not known yet"),
        });
    };
    WAITERS.with(|waiters| {
        let number = waiters.count.replace(waiters.count.get().wrapping_add(1));
        // SAFETY: in the request's pool, and the request is alive.
        let place = unsafe { cleanup.as_mut() };
        place.handler = Some(request_ended);
        place.data = ptr::without_provenance_mut(number);
        let (request, flush) = (request.into(), Stage::Due(ticket));
        let waiting = Waiting { number, request, cleanup, group, shared, flush, which };
        waiters.waiting.borrow_mut().push(waiting);
        waiters.set_timer();
        ext::post_next(due);
    });
    None
}

/// Begins the flushes that are due, after the requests that were there when the changes were made. The kernel does its part on
/// the processor that asks for it, at once, and meanwhile the worker does not run.
unsafe extern "C" fn begin_due(_: *mut ngx_event_t) {
    // SAFETY: set before the worker serves, by this thread.
    let cycle = unsafe { ngx_cycle };
    // SAFETY: as above.
    let cycle = unsafe { &*cycle };
    WAITERS.with(|waiters| {
        // Late is better than not durable.
        let begin = if waiters.hear(cycle).is_ok() { flush::begin } else { flush::at_once };
        for waiting in waiters.waiting.borrow_mut().iter_mut() {
            if let Stage::Due(ticket) = waiting.flush {
                waiting.flush = Stage::Begun(begin(waiting.shared.routes_file(), ticket));
            }
        }
    });
    answer_known();
}

/// nginx ends the request before its answer: the flush goes on, and nobody listens.
unsafe extern "C" fn request_ended(data: *mut c_void) {
    WAITERS.with(|waiters| {
        let mut all = waiters.waiting.borrow_mut();
        let at = all.iter().position(|waiting| waiting.number == data.addr());
        if let Some(Waiting { shared, flush: Stage::Due(ticket), .. }) = at.map(|at| all.swap_remove(at)) {
            flush::begin(shared.routes_file(), ticket);
            flush::in_background(shared.events.file());
        }
        drop(all);
        waiters.set_timer();
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
    flush::collect();
    answer_known();
}

unsafe extern "C" fn look(_: *mut ngx_event_t) {
    flush::collect();
    answer_known();
}

/// Answers the requests whose flush has finished.
fn answer_known() {
    // One after the other: an answer can end other requests.
    while let Some((waiting, outcome)) = WAITERS.with(Waiters::next_to_answer) {
        finish(waiting, &outcome);
    }
    WAITERS.with(Waiters::set_timer);
}

fn finish(mut waiting: Waiting, outcome: &Outcome) {
    // SAFETY: in the pool of the request, which has not ended, or `request_ended` would have taken this out.
    unsafe { waiting.cleanup.as_mut() }.handler = None;
    // SAFETY: the same.
    let request = unsafe { waiting.request.as_mut() };
    let (client, group) = (request.connection, waiting.group);
    let answer = match (outcome, waiting.which) {
        (Err(_), Try::First) => write_again(request, group),
        _ => Some(answer(group, outcome, connection(request).log)),
    };
    let Some(answer) = answer else { return };
    body::finish(request, answer);
    // Posted requests run now, as after any event of the client.
    // SAFETY: a connection's structure outlives this event, and if the connection is closed by now it says so (`destroyed`).
    unsafe { ngx_http_run_posted_requests(client) };
    // The event that tells of the change is brought to disk after the answer: it is a record for people, and nobody waits for it.
    flush::in_background(waiting.shared.events.file());
}

/// After a failed write the kernel takes the page for clean.
fn write_again(request: &mut ngx_http_request_t, group: &'static Group) -> Option<Answer> {
    let ticket = flush::ticket();
    if let Some(word) = group.word() {
        word.touch();
    }
    wait(request, group, ticket, Try::Last)
}

fn answer(group: &Group, outcome: &Outcome, logger: *mut ngx_log_t) -> Answer {
    if is_left_behind(group) {
        return Answer::internal(
            "nginx has left the state folder in which the change was made: look at the group, and ask again",
        );
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
