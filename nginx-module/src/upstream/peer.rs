//! The callbacks of a peer, each in front of the balancer's own. Those for TLS sessions: [`sessions`](super::sessions).
//!
//! `peer.data` is our upstream request while nginx holds it; each callback passes the balancer its own data back.

use std::ffi::c_void;

use cutover_core::shard::AttemptFailure;
use ngx::core::Status;
use ngx::ffi::{
    NGX_PEER_FAILED, NGX_PEER_NEXT, ngx_connection_t, ngx_int_t, ngx_peer_connection_t, ngx_uint_t,
};

use super::request::UpstreamRequest;
use crate::layout::bits;

/// # Safety
/// `data` must be what [`wrap::replace`](super::wrap::replace) put into `peer.data`.
pub(super) unsafe fn request<'a>(data: *mut c_void) -> &'a UpstreamRequest {
    // SAFETY: the caller vouches for it; it lives in the request's pool, which outlives the peer.
    unsafe { &*data.cast() }
}

pub(super) unsafe extern "C" fn get(pc: *mut ngx_peer_connection_t, data: *mut c_void) -> ngx_int_t {
    // SAFETY: nginx passes peer.data back.
    let request = unsafe { request(data) };
    if request.rescue_is_due() {
        return get_rescued(pc, request);
    }
    let rc = ask(pc, request);
    if rc != Status::NGX_BUSY.0 {
        return rc;
    }
    // Nothing was sent in this attempt, and nginx wants to make it: it may be made elsewhere.
    // SAFETY: nginx passes the peer's connection.
    request.settle_rescue(unsafe { &mut *pc });
    if request.may_be_rescued() { get_rescued(pc, request) } else { rc }
}

/// The balancer's own get, counted.
fn ask(pc: *mut ngx_peer_connection_t, request: &UpstreamRequest) -> ngx_int_t {
    request.attempt_begins();
    let Some(original) = request.callbacks().and_then(|callbacks| callbacks.get) else {
        return Status::NGX_ERROR.into();
    };
    // SAFETY: what nginx would have called, with what it would have passed.
    let rc = unsafe { original(pc, request.balancer_data()) };
    // No live peer, or an error of the balancer: nginx will not call free for this attempt.
    if rc == Status::NGX_BUSY.0 || rc == Status::NGX_ERROR.0 {
        request.attempt_failed(AttemptFailure::NoPeer);
    }
    rc
}

#[cold]
fn get_rescued(pc: *mut ngx_peer_connection_t, request: &UpstreamRequest) -> ngx_int_t {
    match request.go_to_fallback() {
        Ok(()) => ask(pc, request),
        Err(rc) => rc,
    }
}

pub(super) unsafe extern "C" fn free(pc: *mut ngx_peer_connection_t, data: *mut c_void, state: ngx_uint_t) {
    // SAFETY: nginx passes peer.data back.
    let request = unsafe { request(data) };
    let failed = state & NGX_PEER_FAILED as ngx_uint_t != 0;
    // nginx tries another server, and does not hold it against this one (http_403, http_404 of proxy_next_upstream).
    let passed_on = state & NGX_PEER_NEXT as ngx_uint_t != 0;
    // SAFETY: nginx passes the peer's connection.
    let why = if failed { why(unsafe { &*pc }, request) } else { None };
    match why {
        Some(why) => request.attempt_failed(why),
        None if failed => request.attempt_did_not_count(),
        None if passed_on => request.attempt_ends(),
        None => {}
    }
    if let Some(original) = request.callbacks().and_then(|callbacks| callbacks.free) {
        // SAFETY: what nginx would have called, with what it would have passed.
        unsafe { original(pc, request.balancer_data(), state) };
    }
    // SAFETY: as above.
    let pc = unsafe { &mut *pc };
    if failed || passed_on {
        request.settle_rescue(pc);
    }
    if !request.may_be_rescued() {
        return;
    }
    if why.is_some() || passed_on {
        // The one try that is left, if any, was added for the fallback. nginx still decides whether to make it
        // (proxy_next_upstream, non_idempotent, the limits).
        if pc.tries <= 1 {
            pc.tries = 1;
            request.rescue_when_asked(failed);
        }
    } else if failed && pc.tries == 0 && request.tries_left() > 1 {
        // A balancer with one server has nothing left. nginx gives the attempt back that did not count; the one for the
        // fallback is to stay, too.
        pc.tries = 1;
    }
}

/// A kept connection that the server had closed before nginx used it again is no failure of the server: nginx tries anew, and
/// does not count the try either (ngx_http_upstream_next).
fn why(pc: &ngx_peer_connection_t, request: &UpstreamRequest) -> Option<AttemptFailure> {
    // SAFETY: null, or the connection that this attempt used.
    let connection = unsafe { pc.connection.as_ref() };
    let timed_out = connection.is_some_and(timed_out);
    let (connected, status, received) = request.how_far();
    if connection.is_some() && bits::ngx_peer_connection_t::CACHED.is_set(pc) && !timed_out && received == 0 {
        None
    } else if timed_out {
        Some(AttemptFailure::Timeout)
    } else if status >= 400 {
        Some(AttemptFailure::Status)
    } else if !connected {
        Some(AttemptFailure::Connect)
    } else {
        Some(AttemptFailure::Answer)
    }
}

fn timed_out(connection: &ngx_connection_t) -> bool {
    // SAFETY: each connection has its events.
    let read = unsafe { &*connection.read };
    // SAFETY: as above.
    let write = unsafe { &*connection.write };
    bits::ngx_event_t::TIMEDOUT.is_set(read) || bits::ngx_event_t::TIMEDOUT.is_set(write)
}

pub(super) unsafe extern "C" fn notify(pc: *mut ngx_peer_connection_t, data: *mut c_void, kind: ngx_uint_t) {
    // SAFETY: nginx passes peer.data back.
    let request = unsafe { request(data) };
    if let Some(original) = request.callbacks().and_then(|callbacks| callbacks.notify) {
        // SAFETY: what nginx would have called, with what it would have passed.
        unsafe { original(pc, request.balancer_data(), kind) };
    }
}
