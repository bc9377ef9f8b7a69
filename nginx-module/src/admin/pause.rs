//! Lets a request wait a moment for another process, without making the worker's other requests wait.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::NonNull;

use ngx::ffi::{ngx_event_t, ngx_http_cleanup_add, ngx_http_request_t, ngx_http_run_posted_requests};

use crate::ext::{self, connection};
use crate::pool;

/// How often a request may pause, for a millisecond each. A process that needs longer was killed.
const LOOKS: u32 = 50;

/// Continues a request after a pause.
pub(super) type Resume = fn(&mut ngx_http_request_t);

/// The pauses of one request.
#[derive(Debug, Default)]
pub(super) struct Pauses(Cell<Option<NonNull<Pause>>>);

impl Pauses {
    /// Whether the request may pause once more.
    pub(super) fn are_left(&self) -> bool {
        // SAFETY: in the pool of the request that is served.
        self.0.get().is_none_or(|pause| unsafe { pause.as_ref() }.left > 0)
    }

    /// Calls `resume` in a millisecond; `None` if the pool is exhausted.
    pub(super) fn pause(&self, request: &mut ngx_http_request_t, resume: Resume) -> Option<()> {
        let mut pause = match self.0.get() {
            Some(pause) => pause,
            None => Pause::of(request, resume)?,
        };
        self.0.set(Some(pause));
        // SAFETY: in the pool of the request that is served; nothing else borrows it now.
        let pause = unsafe { pause.as_mut() };
        pause.left = pause.left.saturating_sub(1);
        ext::set_timer(&mut pause.event, 1);
        Some(())
    }
}

/// Their event, in the request's pool. nginx takes the data of an event for a connection when it logs it
/// (ngx_event_ident): the number is the fourth word.
#[repr(C)]
#[derive(Debug)]
struct Pause {
    ident: [usize; 4],
    event: ngx_event_t,
    request: *mut ngx_http_request_t,
    /// Continues the request after a pause.
    resume: Resume,
    left: u32,
}

impl Pause {
    fn of(request: &mut ngx_http_request_t, resume: Resume) -> Option<NonNull<Self>> {
        // SAFETY: the request that is served.
        let cleanup = unsafe { ngx_http_cleanup_add(request, 0) };
        // SAFETY: an entry of the request, or null.
        let cleanup = unsafe { cleanup.as_mut() }?;
        // SAFETY: zeroes are a value of each field, an event that is not set among them.
        let event: ngx_event_t = unsafe { std::mem::zeroed() };
        let pause = Self { ident: [0, 0, 0, usize::MAX], event, request, resume, left: LOOKS };
        let mut place = NonNull::from(pool::place(request.pool, pause)?);
        // SAFETY: just written, in the request's pool.
        let pause = unsafe { place.as_mut() };
        pause.event.handler = Some(ended);
        pause.event.log = connection(request).log;
        pause.event.data = place.as_ptr().cast();
        cleanup.handler = Some(request_ended);
        cleanup.data = place.as_ptr().cast();
        Some(place)
    }
}

unsafe extern "C" fn ended(event: *mut ngx_event_t) {
    // SAFETY: nginx passes the event whose handler this is.
    let data = unsafe { (*event).data }.cast::<Pause>();
    let Some(pause) = NonNull::new(data) else { return };
    // SAFETY: the event's data is its pause, in the pool of a request that has not ended: that takes the timer off.
    let Pause { request, resume, .. } = *unsafe { pause.as_ref() };
    // SAFETY: as above.
    let Some(request) = (unsafe { request.as_mut() }) else { return };
    let client = request.connection;
    resume(request);
    // SAFETY: a connection's structure outlives this event, and if the connection is closed by now it says so (`destroyed`).
    unsafe { ngx_http_run_posted_requests(client) };
}

/// nginx ends the request while it waits, or afterwards.
unsafe extern "C" fn request_ended(data: *mut c_void) {
    // SAFETY: the pause that this entry was made for, in the request's pool.
    let pause = unsafe { &mut *data.cast::<Pause>() };
    ext::cancel_timer(&mut pause.event);
}
