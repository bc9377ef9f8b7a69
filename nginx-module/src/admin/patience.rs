//! Waits, without making the worker's other requests wait, until the process that has moved a route is done with its trial.

use std::ffi::c_void;
use std::ptr::NonNull;

use ngx::ffi::{
    ngx_event_t, ngx_http_cleanup_add, ngx_http_request_t, ngx_http_run_posted_requests, ngx_pcalloc,
};

use super::body;
use crate::ext::{self, connection};

/// How often a request looks, a millisecond apart. A process that needs longer was killed.
const LOOKS: u32 = 50;

/// How long a change may wait yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience(Option<NonNull<Pause>>);

/// The pauses of one request, in its pool. nginx takes the data of an event for a connection when it logs it
/// (ngx_event_ident): the number is the fourth word.
#[repr(C)]
#[derive(Debug)]
struct Pause {
    ident: [usize; 4],
    event: ngx_event_t,
    request: *mut ngx_http_request_t,
    left: u32,
}

impl Patience {
    /// Of a request that has not waited.
    pub(super) const WHOLE: Self = Self(None);

    /// Whether it may wait once more.
    pub(super) fn is_left(self) -> bool {
        // SAFETY: in the pool of the request that is served.
        self.0.is_none_or(|pause| unsafe { pause.as_ref() }.left > 0)
    }

    /// The request is gone on with in a millisecond; `None` if the pool is exhausted.
    pub(super) fn pause(self, request: &mut ngx_http_request_t) -> Option<()> {
        let mut pause = match self.0 {
            Some(pause) => pause,
            None => Pause::of(request)?,
        };
        // SAFETY: in the pool of the request that is served; nobody else holds it now.
        let pause = unsafe { pause.as_mut() };
        pause.left = pause.left.saturating_sub(1);
        ext::wake(&mut pause.event, 1);
        Some(())
    }
}

impl Pause {
    fn of(request: &mut ngx_http_request_t) -> Option<NonNull<Self>> {
        // SAFETY: the request that is served.
        let cleanup = unsafe { ngx_http_cleanup_add(request, 0) };
        // SAFETY: an entry of the request, or null.
        let cleanup = unsafe { cleanup.as_mut() }?;
        // SAFETY: the pool is the request's.
        let place = NonNull::new(unsafe { ngx_pcalloc(request.pool, size_of::<Self>()) })?.cast::<Self>();
        // SAFETY: zeroes are a value of each field, an event that is not set among them; it lives as long as the request's pool.
        let pause = unsafe { &mut *place.as_ptr() };
        pause.request = request;
        pause.ident = [0, 0, 0, usize::MAX];
        pause.event.handler = Some(ended);
        pause.event.log = connection(request).log;
        pause.event.data = place.as_ptr().cast();
        pause.left = LOOKS;
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
    let request = unsafe { pause.as_ref() }.request;
    // SAFETY: as above.
    let Some(request) = (unsafe { request.as_mut() }) else { return };
    let client = request.connection;
    body::go_on(request, Patience(Some(pause)));
    // SAFETY: a connection's structure outlives this event, and if the connection is closed by now it says so (`destroyed`).
    unsafe { ngx_http_run_posted_requests(client) };
}

/// nginx ends the request while it waits, or afterwards.
unsafe extern "C" fn request_ended(data: *mut c_void) {
    // SAFETY: the pause that this entry was made for, in the request's pool.
    let pause = unsafe { &mut *data.cast::<Pause>() };
    ext::rest(&mut pause.event);
}
