//! Answering when a change is on disk, without making the worker's other requests wait.
//!
//! The [`Bell`] of the flush is a connection of the worker's event loop.

use std::ffi::c_void;
use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use cutover_core::api::{ErrorCode, Failure};
use cutover_core::flush::Ticket;
use ngx::core::Status;
use ngx::ffi::{
    NGX_LOG_CRIT, ngx_add_timer, ngx_close_connection, ngx_connection_t, ngx_cycle, ngx_event_actions,
    ngx_event_t, ngx_get_connection, ngx_handle_read_event, ngx_http_cleanup_add, ngx_http_cleanup_t,
    ngx_http_request_t, ngx_http_run_posted_requests, ngx_log_t,
};

use super::answer::Answer;
use super::{body, describe};
use crate::ext::{connection, log};
use crate::group::Group;
use crate::state::flush::{self, Bell};

/// How often a waiting worker looks again, in milliseconds. The timer is also what keeps a worker that shuts down from
/// leaving before the answer is out.
const LOOK_AGAIN: usize = 1000;

/// Flushes the route of a group and then answers with the group; the ticket was taken before the route was changed. `Some`: it
/// could not wait; this is the answer.
pub(super) fn then_answer(
    request: &mut ngx_http_request_t,
    group: &'static Group,
    ticket: Ticket,
) -> Option<Answer> {
    flush(request, group, ticket, Try::First)
}

/// The kernel tells each opening of a file what it could not write, also long ago when another worker was told of it. So what
/// fails is written once more, and what becomes of that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Try {
    First,
    Last,
}

fn flush(
    request: &mut ngx_http_request_t,
    group: &'static Group,
    ticket: Ticket,
    which: Try,
) -> Option<Answer> {
    let logger = connection(request).log;
    let Some(file) = group.shared().map(|shared| shared.routes_file()) else {
        return Some(Answer::internal("the state file is not mapped"));
    };
    let bell = Bell::new(ticket).and_then(|bell| {
        listen(request, group, &bell, which)?;
        Ok(bell)
    });
    match bell {
        Ok(bell) => {
            flush::begin(file, &bell);
            None
        }
        // No descriptor or connection to be had: late is better than not durable.
        Err(_) => Some(answer(group, &file.sync_data(), logger)),
    }
}

/// A request that waits for the bell.
struct Waiting {
    request: NonNull<ngx_http_request_t>,
    /// Tells when nginx ends the request meanwhile (`worker_shutdown_timeout`, an error of the client's connection).
    cleanup: NonNull<ngx_http_cleanup_t>,
    group: &'static Group,
    bell: Arc<Bell>,
    which: Try,
    /// The bell's connection.
    ear: NonNull<ngx_connection_t>,
}

/// Makes the bell a connection of the event loop, whose read event is its ringing.
fn listen(
    request: &mut ngx_http_request_t,
    group: &'static Group,
    bell: &Arc<Bell>,
    which: Try,
) -> io::Result<()> {
    let fd = bell.ear()?.into_raw_fd();
    // The client's log would go with the client.
    // SAFETY: set before the worker serves, for as long as it lives.
    let cycle = unsafe { ngx_cycle };
    // SAFETY: as above.
    let logger = unsafe { (*cycle).log };
    // SAFETY: an open descriptor that the connection owns from now on.
    let Some(mut ear) = NonNull::new(unsafe { ngx_get_connection(fd, logger) }) else {
        // SAFETY: nobody else has taken it.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
        return Err(io::ErrorKind::ResourceBusy.into());
    };
    // SAFETY: a free connection of this worker.
    let c = unsafe { ear.as_mut() };
    // SAFETY: each connection has its events for as long as the worker lives.
    let read = unsafe { &mut *c.read };
    read.handler = Some(rung);
    read.log = logger;
    // SAFETY: as above.
    unsafe { &mut *c.write }.log = logger;
    // SAFETY: an event of this worker, with a handler.
    let listens = unsafe { ngx_handle_read_event(read, 0) } == Status::NGX_OK.0;
    // SAFETY: the request that is served.
    let cleanup = NonNull::new(unsafe { ngx_http_cleanup_add(request, 0) });
    let Some(mut cleanup) = cleanup.filter(|_| listens) else {
        // SAFETY: got above, and in nobody else's hands.
        unsafe { close(ear) };
        return Err(io::ErrorKind::OutOfMemory.into());
    };
    let waiting = Waiting { request: request.into(), cleanup, group, bell: Arc::clone(bell), which, ear };
    let waiting = Box::into_raw(Box::new(waiting));
    c.data = waiting.cast();
    // SAFETY: in the request's pool, and the request is alive.
    let cleanup = unsafe { cleanup.as_mut() };
    cleanup.handler = Some(request_ended);
    cleanup.data = waiting.cast();
    // SAFETY: an event of this worker.
    unsafe { ngx_add_timer(read, LOOK_AGAIN) };
    Ok(())
}

/// nginx ends the request before its answer: the flush goes on, and nobody listens.
unsafe extern "C" fn request_ended(data: *mut c_void) {
    // SAFETY: the box that `listen` made; `rung` takes this handler away before it takes the box.
    let waiting = unsafe { Box::from_raw(data.cast::<Waiting>()) };
    // SAFETY: the connection of `listen`, which nobody knows of any more.
    unsafe { close(waiting.ear) };
}

/// The bell, or the timer.
unsafe extern "C" fn rung(event: *mut ngx_event_t) {
    // SAFETY: nginx passes the event whose handler this is; its data is the connection of `listen`.
    let connection: *mut ngx_connection_t = unsafe { (*event).data }.cast();
    // SAFETY: as above.
    let data: *mut Waiting = unsafe { (*connection).data }.cast();
    // SAFETY: the box that `listen` left there; it is taken back below, once.
    if unsafe { &*data }.bell.outcome().is_none() {
        // SAFETY: nginx passes the event whose handler this is.
        unsafe { (*event).set_timedout(0) };
        // SAFETY: as above.
        unsafe { ngx_add_timer(event, LOOK_AGAIN) };
        return;
    }
    // SAFETY: made by Box::into_raw in `listen`; `finish` takes the clean-up handler away, the other way to it.
    let waiting = unsafe { Box::from_raw(data) };
    // SAFETY: the connection of `listen`, and this is its last event.
    unsafe { close(waiting.ear) };
    finish(*waiting);
}

fn finish(mut waiting: Waiting) {
    // SAFETY: in the pool of the request, which has not ended, or `request_ended` would have taken the box.
    unsafe { waiting.cleanup.as_mut() }.handler = None;
    // SAFETY: the same.
    let request = unsafe { waiting.request.as_mut() };
    let client = request.connection;
    if let Some(outcome) = waiting.bell.outcome() {
        let answer = match outcome {
            Err(_) if waiting.which == Try::First => write_again(request, waiting.group),
            outcome => Some(answer(waiting.group, outcome, connection(request).log)),
        };
        let Some(answer) = answer else { return };
        body::finish(request, answer);
        // SAFETY: nginx keeps a connection's structure for as long as the worker lives; posted requests run now, as after any
        // event of the client.
        unsafe { ngx_http_run_posted_requests(client) };
    }
    // The event that tells of the change comes after the answer: it is a record for people, and nobody waits for it.
    if let Some(shared) = waiting.group.shared() {
        flush::in_background(shared.events.file());
    }
}

/// After a failed write the kernel takes the page for clean.
fn write_again(request: &mut ngx_http_request_t, group: &'static Group) -> Option<Answer> {
    let ticket = flush::ticket();
    if let Some(word) = group.word() {
        word.touch();
    }
    flush(request, group, ticket, Try::Last)
}

/// Closes the bell's connection. The event loop is told: the eventfd itself may live on in the bell, and would stay registered.
///
/// # Safety
/// The connection must be one of `listen`, and nobody may use it afterwards.
unsafe fn close(ear: NonNull<ngx_connection_t>) {
    // SAFETY: filled in by the event module before the worker serves.
    let actions = unsafe { ngx_event_actions };
    // Where the event module has no such call, it forgets a connection when that is closed.
    if let Some(del) = actions.del_conn {
        // SAFETY: the caller vouches for the connection.
        unsafe { del(ear.as_ptr(), 0) };
    }
    // SAFETY: as above.
    unsafe { ngx_close_connection(ear.as_ptr()) };
}

fn answer(group: &Group, outcome: &io::Result<()>, logger: *mut ngx_log_t) -> Answer {
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
