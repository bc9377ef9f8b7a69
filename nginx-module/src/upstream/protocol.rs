//! The callbacks of a protocol (proxy, FastCGI, gRPC, ..), each in front of its own: when an answer begins, and when all ends.

use std::ptr;

use ngx::core::Status;
use ngx::ffi::{ngx_http_request_t, ngx_http_upstream_t, ngx_int_t};

use super::request::UpstreamRequest;
use crate::callbacks::{Callbacks, Step};
use crate::layout::bits;

/// A static, because a function named twice may have two addresses.
pub(super) static PROCESS_HEADER: Step = process_header;

/// nginx calls it when bytes of an answer have come, until the head is complete. A protocol replaces it by its own next step, and
/// calls that at once; if that has to wait for more, ours goes in front of it again.
unsafe extern "C" fn process_header(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx passes the request whose upstream has answered.
    let Some((request, u)) = UpstreamRequest::serving(unsafe { &*r }) else {
        return Status::NGX_ERROR.into();
    };
    let first_bytes = request.first_bytes();
    let Some(original) = request.callbacks().and_then(|callbacks| callbacks.process_header) else {
        return Status::NGX_ERROR.into();
    };
    // SAFETY: what nginx would have called.
    let rc = unsafe { original(r) };
    // SAFETY: the upstream of the request, as above; the protocol has changed it meanwhile.
    let u = unsafe { &mut *u };
    if let Some(at_us) = first_bytes
        && (rc != Status::NGX_AGAIN.0 || !begins_with_settings(u))
    {
        request.answer_began(at_us);
    }
    if rc == Status::NGX_OK.0 && bits::ngx_http_upstream_t::UPGRADE.is_set(u) {
        request.upgraded();
    } else if rc == Status::NGX_AGAIN.0 {
        follow(u, request);
    }
    rc
}

/// A gRPC server sends its settings as soon as there is a connection. Until the head of an answer is complete, the bytes that have
/// come may be those, and only the protocol knows.
#[cold]
fn begins_with_settings(u: &ngx_http_upstream_t) -> bool {
    // SAFETY: set by nginx's proxy modules; it lives as long as the configuration.
    unsafe { &*u.conf }.module.as_bytes() == b"grpc"
}

/// Called before the request is sent again, and before an answer is read from the cache.
pub(super) unsafe extern "C" fn reinit_request(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx passes the request that starts anew.
    let Some((request, u)) = UpstreamRequest::serving(unsafe { &*r }) else {
        return Status::NGX_ERROR.into();
    };
    let Some(original) = request.callbacks().and_then(|callbacks| callbacks.reinit_request) else {
        return Status::NGX_ERROR.into();
    };
    // SAFETY: what nginx would have called.
    let rc = unsafe { original(r) };
    // The protocol begins with its first step again; ours goes in front of it. It may be another one than was found at first:
    // an answer from the cache has been through some steps before the balancer was asked.
    // SAFETY: the upstream of the request, as above.
    follow(unsafe { &mut *u }, request);
    rc
}

/// nginx calls it exactly once for each upstream request, before an internal redirect.
pub(super) unsafe extern "C" fn finalize_request(r: *mut ngx_http_request_t, rc: ngx_int_t) {
    // SAFETY: nginx passes the request whose upstream ends.
    let Some((request, u)) = UpstreamRequest::serving(unsafe { &*r }) else { return };
    // SAFETY: the upstream of the request; nothing else borrows it now.
    request.finish(unsafe { &*u.cast::<ngx_http_upstream_t>() }, rc);
    if let Some(original) = request.callbacks().and_then(|callbacks| callbacks.finalize_request) {
        // SAFETY: what nginx would have called.
        unsafe { original(r, rc) };
    }
}

/// The protocol has put another step of its own into the upstream: keeps that step, and puts ours in front. If the pool is
/// exhausted the step runs alone, and the begin of the answer is not counted.
fn follow(u: &mut ngx_http_upstream_t, request: &UpstreamRequest) {
    let (Some(step), Some(kept)) = (u.process_header, request.callbacks()) else { return };
    if ptr::fn_addr_eq(step, PROCESS_HEADER) {
        return;
    }
    let known = kept.process_header.is_some_and(|known| ptr::fn_addr_eq(known, step));
    if !known {
        match request.keep_in_pool(Callbacks { process_header: Some(step), ..*kept }) {
            Some(kept) => request.set_callbacks(kept),
            None => return,
        }
    }
    u.process_header = Some(PROCESS_HEADER);
}
