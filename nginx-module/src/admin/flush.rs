//! Waiting for the disk without making the worker's other requests wait.
//!
//! A thread of its own flushes the page and then rings an eventfd that the worker's event loop listens to.

use std::ffi::c_void;
use std::io;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock};

use cutover_core::api::{ErrorCode, Failure};
use ngx::core::Status;
use ngx::ffi::{
    NGX_LOG_CRIT, ngx_add_timer, ngx_close_connection, ngx_connection_t, ngx_cycle, ngx_event_actions,
    ngx_event_t, ngx_get_connection, ngx_handle_read_event, ngx_http_cleanup_add, ngx_http_cleanup_t,
    ngx_http_request_t, ngx_http_run_posted_requests, ngx_log_t,
};
use rustix::event::EventfdFlags;

use super::answer::Answer;
use super::{body, describe};
use crate::ext::{connection, log};
use crate::group::Group;
use crate::state::flush::on_a_thread;
use crate::state::mapping::Page;

/// How often a waiting worker looks again, in milliseconds. The timer is also what keeps a worker that shuts down from
/// leaving before the answer is out.
const LOOK_AGAIN: usize = 1000;

/// Flushes `page` and then answers with the group. `Some`: it could not wait; this is the answer.
pub(super) fn then_answer(
    request: &mut ngx_http_request_t,
    group: &'static Group,
    page: Page,
) -> Option<Answer> {
    let logger = connection(request).log;
    match begin(request, group, page) {
        Ok(()) => None,
        // No thread or no descriptor to be had: late is better than not durable.
        Err(_) => Some(answer(group, &page.flush(), logger)),
    }
}

/// What the thread tells the event loop.
struct Bell {
    outcome: OnceLock<io::Result<()>>,
    eventfd: OwnedFd,
}

impl Bell {
    fn ring(&self, outcome: io::Result<()>) {
        let _ = self.outcome.set(outcome);
        // An eventfd that nobody has rung takes one ring at once.
        let _ = rustix::io::write(&self.eventfd, &1u64.to_ne_bytes());
    }
}

/// A request that waits for the bell.
struct Waiting {
    /// None: nginx has ended the request meanwhile (`worker_shutdown_timeout`, an error of the client's connection).
    request: Option<NonNull<ngx_http_request_t>>,
    /// Tells of that end.
    cleanup: NonNull<ngx_http_cleanup_t>,
    group: &'static Group,
    bell: Arc<Bell>,
}

fn begin(request: &mut ngx_http_request_t, group: &'static Group, page: Page) -> io::Result<()> {
    let eventfd = rustix::event::eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
    let ear = eventfd.try_clone()?;
    let bell = Arc::new(Bell { outcome: OnceLock::new(), eventfd });
    // SAFETY: the request that is served.
    let cleanup =
        NonNull::new(unsafe { ngx_http_cleanup_add(request, 0) }).ok_or(io::ErrorKind::OutOfMemory)?;
    listen(ear, Waiting { request: Some(request.into()), cleanup, group, bell: Arc::clone(&bell) })?;

    let for_thread = Arc::clone(&bell);
    let events = group.shared().and_then(|shared| shared.events.handle().ok());
    let work = move || {
        for_thread.ring(page.flush());
        // After the answer: an event is a record for people, and nobody waits for it.
        if let Some(events) = events {
            let _ = events.sync_data();
        }
    };
    if on_a_thread(work).is_err() {
        bell.ring(page.flush());
    }
    Ok(())
}

/// Makes `ear` a connection of the event loop, whose read event is the bell.
fn listen(ear: OwnedFd, waiting: Waiting) -> io::Result<()> {
    let fd = ear.into_raw_fd();
    // The client's log would go with the client.
    // SAFETY: set before the worker serves, for as long as it lives.
    let cycle = unsafe { ngx_cycle };
    // SAFETY: as above.
    let logger = unsafe { (*cycle).log };
    // SAFETY: an open descriptor that the connection owns from now on.
    let connection = unsafe { ngx_get_connection(fd, logger) };
    // SAFETY: a free connection of this worker, or null when all are in use.
    let Some(c) = (unsafe { connection.as_mut() }) else {
        // SAFETY: nobody else has taken it.
        drop(unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd) });
        return Err(io::ErrorKind::ResourceBusy.into());
    };
    // SAFETY: each connection has its events for as long as the worker lives.
    let read = unsafe { &mut *c.read };
    read.handler = Some(rung);
    read.log = logger;
    // SAFETY: as above.
    unsafe { &mut *c.write }.log = logger;
    // SAFETY: an event of this worker, with a handler.
    if unsafe { ngx_handle_read_event(read, 0) } != Status::NGX_OK.0 {
        // SAFETY: got above, and in nobody else's hands.
        unsafe { ngx_close_connection(c) };
        return Err(io::ErrorKind::Other.into());
    }
    let mut cleanup = waiting.cleanup;
    let data = Box::into_raw(Box::new(waiting));
    c.data = data.cast();
    // SAFETY: in the request's pool, and the request is alive.
    let cleanup = unsafe { cleanup.as_mut() };
    cleanup.handler = Some(request_ended);
    cleanup.data = data.cast();
    // SAFETY: an event of this worker.
    unsafe { ngx_add_timer(read, LOOK_AGAIN) };
    Ok(())
}

/// nginx ends the request before its answer.
unsafe extern "C" fn request_ended(data: *mut c_void) {
    // SAFETY: the box that `listen` made; `rung` takes this handler away before it frees it.
    let waiting: &mut Waiting = unsafe { &mut *data.cast() };
    waiting.request = None;
}

/// The bell, or the timer.
unsafe extern "C" fn rung(event: *mut ngx_event_t) {
    // SAFETY: nginx passes the event whose handler this is; its data is the connection of `listen`.
    let connection: *mut ngx_connection_t = unsafe { (*event).data }.cast();
    // SAFETY: as above.
    let data: *mut Waiting = unsafe { (*connection).data }.cast();
    // SAFETY: the box that `listen` left there; it is taken back below, once.
    let waiting = unsafe { &*data };
    if waiting.bell.outcome.get().is_none() {
        // SAFETY: nginx passes the event whose handler this is.
        unsafe { (*event).set_timedout(0) };
        // SAFETY: as above.
        unsafe { ngx_add_timer(event, LOOK_AGAIN) };
        return;
    }
    // The eventfd lives on in the bell, so that closing this end would leave it registered.
    // SAFETY: the connection of `listen`.
    unsafe { forget(connection) };
    // SAFETY: the connection is ours, and this is its last event.
    unsafe { ngx_close_connection(connection) };
    // SAFETY: made by Box::into_raw in `listen`; the event is forgotten, and the clean-up handler is taken away below.
    let waiting = unsafe { Box::from_raw(data) };
    if let Some(request) = waiting.request {
        finish(request, &waiting);
    }
}

fn finish(mut request: NonNull<ngx_http_request_t>, waiting: &Waiting) {
    let mut cleanup = waiting.cleanup;
    // SAFETY: in the pool of the request, which has not ended, or `request_ended` would have said so.
    unsafe { cleanup.as_mut() }.handler = None;
    // SAFETY: the same.
    let request = unsafe { request.as_mut() };
    let client = request.connection;
    if let Some(outcome) = waiting.bell.outcome.get() {
        let answer = answer(waiting.group, outcome, connection(request).log);
        body::finish(request, answer);
        // SAFETY: nginx keeps a connection's structure for as long as the worker lives; posted requests run now, as after any
        // event of the client.
        unsafe { ngx_http_run_posted_requests(client) };
    }
}

/// `ngx_del_conn`, where the event module has it; the others forget a connection when it is closed.
///
/// # Safety
/// `connection` must be one that events were added for.
unsafe fn forget(connection: *mut ngx_connection_t) {
    // SAFETY: filled in by the event module before the worker serves.
    let actions = unsafe { ngx_event_actions };
    if let Some(del) = actions.del_conn {
        // SAFETY: the caller vouches for the connection.
        unsafe { del(connection, 0) };
    }
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
