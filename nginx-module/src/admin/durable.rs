//! Answering when a change is on disk, without making the worker's other requests wait.
//!
//! The eventfd that is written to when a flush has ended ([`flush::eventfd`]) is an event of the worker's loop.

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
use super::describe;
use crate::ext::{self, connection, log};
use crate::group::Group;
use crate::layout::bits;
use crate::memory::Memory;
use crate::memory::flush::{self, Flush, FlushResult};

/// How often a worker looks by itself while requests wait, in milliseconds. The timer also keeps a worker that shuts down from
/// leaving before it has answered.
const LOOK_AGAIN: usize = 1000;

/// The requests of this worker that wait for the disk. nginx is single-threaded.
struct Waiters {
    /// The connection of the eventfd, or null.
    listener: Cell<*mut ngx_connection_t>,
    /// Set while requests wait; null where none was started.
    timer: Cell<*mut ngx_event_t>,
    /// Posted while a flush is due; null where none was started.
    due: Cell<*mut ngx_event_t>,
    waiting: RefCell<Vec<Waiting>>,
    /// How many have waited so far.
    count: Cell<usize>,
}

thread_local! {
    static WAITERS: Waiters = const { Waiters {
        listener: Cell::new(ptr::null_mut()),
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
    memory: &'static Memory,
    flush: FlushState,
    attempt: FlushAttempt,
}

/// The flush of a request.
enum FlushState {
    Due(Ticket),
    Begun(Arc<Flush>),
}

/// The kernel reports a failed write to each opening of a file, also a write of long ago that was reported to another worker. So
/// a change whose flush fails is written once more, and the result of the second flush counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FlushAttempt {
    First,
    Last,
}

/// Begins to listen, in a worker.
pub(crate) fn start(cycle: &ngx_cycle_t) {
    WAITERS.with(|waiters| {
        waiters.timer.set(ext::event(look, cycle.log));
        waiters.due.set(ext::event(begin_due, cycle.log));
        if let Err(error) = waiters.listen(cycle) {
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
        if let Some(listener) = unsafe { waiters.listener.get().as_mut() } {
            set_log(listener, cycle.log);
        }
    });
}

fn set_log(listener: &mut ngx_connection_t, log: *mut ngx_log_t) {
    listener.log = log;
    for event in [listener.read, listener.write] {
        // SAFETY: each connection has its events for as long as the process lives.
        unsafe { &mut *event }.log = log;
    }
}

impl Waiters {
    /// Makes the eventfd a connection of the event loop, as nginx does with the channel to its master.
    fn listen(&self, cycle: &ngx_cycle_t) -> io::Result<()> {
        if !self.listener.get().is_null() {
            return Ok(());
        }
        // SAFETY: an open descriptor, and the log of the cycle that this process serves.
        let listener = unsafe { ngx_get_connection(flush::eventfd()?, cycle.log) };
        // SAFETY: null, or a free connection of this process.
        let c = unsafe { listener.as_mut() }.ok_or(io::ErrorKind::ResourceBusy)?;
        set_log(c, cycle.log);
        // SAFETY: each connection has its events for as long as the process lives.
        let read = unsafe { &mut *c.read };
        read.handler = Some(flush_ended);
        // A worker that ends does not report it as left open (ngx_worker_process_exit).
        bits::ngx_event_t::CHANNEL.set(read, true);
        // SAFETY: an event of this process, with a handler.
        if unsafe { ngx_handle_read_event(read, 0) } != Status::NGX_OK.0 {
            // SAFETY: got above, and not given away yet. The eventfd itself is not closed.
            unsafe { ngx_free_connection(c) };
            c.fd = -1;
            return Err(io::Error::other("the event loop does not take it"));
        }
        self.listener.set(listener);
        Ok(())
    }

    /// The timer runs while requests wait.
    fn set_timer(&self) {
        // SAFETY: null, or made by `start`.
        let Some(timer) = (unsafe { self.timer.get().as_mut() }) else { return };
        if !self.waiting.borrow().is_empty() {
            ext::set_timer(timer, LOOK_AGAIN);
        } else {
            ext::cancel_timer(timer);
        }
    }

    /// Removes a request whose flush has finished.
    fn next_to_answer(&self) -> Option<(Waiting, FlushResult)> {
        let mut all = self.waiting.borrow_mut();
        let (at, result) = all.iter().enumerate().find_map(|(at, waiting)| match &waiting.flush {
            FlushState::Begun(flush) => Some((at, flush.result()?.clone())),
            FlushState::Due(_) => None,
        })?;
        Some((all.remove(at), result))
    }
}

/// Flushes the route of a group and then answers with the group; the ticket was taken before the route was changed. `Some`: the
/// request cannot wait, and this is the answer.
pub(super) fn then_answer(
    request: &mut ngx_http_request_t,
    group: &'static Group,
    ticket: Ticket,
) -> Option<Answer> {
    wait(request, group, ticket, FlushAttempt::First)
}

fn wait(
    request: &mut ngx_http_request_t,
    group: &'static Group,
    ticket: Ticket,
    attempt: FlushAttempt,
) -> Option<Answer> {
    let Some(memory) = group.memory() else { return Some(Answer::internal("the state file is not mapped")) };
    // SAFETY: the request that is served.
    let cleanup = NonNull::new(unsafe { ngx_http_cleanup_add(request, 0) });
    // SAFETY: null, or made by `start`.
    let due = unsafe { WAITERS.with(|waiters| waiters.due.get()).as_mut() };
    let (Some(mut cleanup), Some(due)) = (cleanup, due) else {
        let flush = flush::at_once(memory.routes_file(), ticket);
        return Some(match flush.result() {
            Some(result) => answer(group, result, connection(request).log),
            None => Answer::internal("the change is in force, but whether it is on disk is not known yet"),
        });
    };
    WAITERS.with(|waiters| {
        let number = waiters.count.replace(waiters.count.get().wrapping_add(1));
        // SAFETY: in the request's pool, and the request is alive.
        let place = unsafe { cleanup.as_mut() };
        place.handler = Some(request_ended);
        place.data = ptr::without_provenance_mut(number);
        let (request, flush) = (request.into(), FlushState::Due(ticket));
        let waiting = Waiting { number, request, cleanup, group, memory, flush, attempt };
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
        let begin = if waiters.listen(cycle).is_ok() { flush::begin } else { flush::at_once };
        for waiting in waiters.waiting.borrow_mut().iter_mut() {
            if let FlushState::Due(ticket) = waiting.flush {
                waiting.flush = FlushState::Begun(begin(waiting.memory.routes_file(), ticket));
            }
        }
    });
    answer_known();
}

/// nginx ends the request before its answer: the flush goes on without it.
unsafe extern "C" fn request_ended(data: *mut c_void) {
    WAITERS.with(|waiters| {
        let mut all = waiters.waiting.borrow_mut();
        let at = all.iter().position(|waiting| waiting.number == data.addr());
        if let Some(Waiting { memory, flush: FlushState::Due(ticket), .. }) = at.map(|at| all.swap_remove(at))
        {
            flush::begin(memory.routes_file(), ticket);
            flush::in_background(memory.events.file());
        }
        drop(all);
        waiters.set_timer();
    });
}

unsafe extern "C" fn flush_ended(event: *mut ngx_event_t) {
    // SAFETY: nginx passes the event whose handler this is.
    let listener = unsafe { (*event).data }.cast::<ngx_connection_t>();
    // SAFETY: an event's data is its connection: the one that `listen` got.
    let listener = unsafe { &*listener };
    // SAFETY: the eventfd stays open as long as the process lives.
    let eventfd = unsafe { BorrowedFd::borrow_raw(listener.fd) };
    // The number says nothing, but an eventfd that is not read stays ready for ever where nginx asks for its level (`use poll`).
    let _ = rustix::io::read(eventfd, &mut [0; 8]);
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
    while let Some((waiting, result)) = WAITERS.with(Waiters::next_to_answer) {
        finish(waiting, &result);
    }
    WAITERS.with(Waiters::set_timer);
}

fn finish(mut waiting: Waiting, result: &FlushResult) {
    // SAFETY: in the pool of the request, which has not ended, or `request_ended` would have removed this.
    unsafe { waiting.cleanup.as_mut() }.handler = None;
    // SAFETY: the same.
    let request = unsafe { waiting.request.as_mut() };
    let (client, group) = (request.connection, waiting.group);
    let answer = match (result, waiting.attempt) {
        (Err(_), FlushAttempt::First) => write_again(request, group),
        _ => Some(answer(group, result, connection(request).log)),
    };
    let Some(answer) = answer else { return };
    answer.finish(request);
    // Posted requests run now, as after any event of the client.
    // SAFETY: a connection's structure outlives this event, and if the connection is closed by now it says so (`destroyed`).
    unsafe { ngx_http_run_posted_requests(client) };
    // The event of the change is flushed after the answer: it is a record for people, and no request waits for it.
    flush::in_background(waiting.memory.events.file());
}

/// After a failed write the kernel takes the page for clean.
fn write_again(request: &mut ngx_http_request_t, group: &'static Group) -> Option<Answer> {
    let ticket = flush::ticket();
    if let Some(word) = group.word() {
        word.touch();
    }
    wait(request, group, ticket, FlushAttempt::Last)
}

fn answer(group: &Group, result: &FlushResult, logger: *mut ngx_log_t) -> Answer {
    if group.is_left_behind() {
        return Answer::internal(
            "nginx has left the state folder in which the change was made: look at the group, and ask again",
        );
    }
    let Err(error) = result else { return Answer::group(&describe::group(group)) };
    log(
        NGX_LOG_CRIT,
        logger,
        format_args!("cutover: the route of group \"{}\" was not flushed to disk: {error}", group.name),
    );
    let message = format!("the change is in force, but it could not be flushed to disk: {error}");
    let failure = Failure::new(ErrorCode::NotDurable, message);
    Answer::failure(Failure { group: Some(Box::new(describe::group(group))), ..failure })
}
