//! The callbacks of a protocol (proxy, FastCGI, gRPC, ..), each in front of its own: when an answer begins, and when all ends.

use ngx::core::Status;
use ngx::ffi::{ngx_http_request_t, ngx_http_upstream_t, ngx_int_t};

use super::{Callbacks, Record};
use crate::layout::bits;

/// Called when bytes of an answer have come, until its head is whole. A protocol replaces it by its own next step, and goes on
/// with that at once; when there is more to wait for, ours goes in front of it again.
pub(super) unsafe extern "C" fn process_header(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx passes the request whose upstream has answered.
    let Some((record, u)) = Record::serving(unsafe { &*r }) else { return Status::NGX_ERROR.into() };
    let first_bytes = record.first_bytes();
    let Some(original) = record.callbacks().and_then(|callbacks| callbacks.process_header) else {
        return Status::NGX_ERROR.into();
    };
    // SAFETY: what nginx would have called.
    let rc = unsafe { original(r) };
    // SAFETY: the upstream of the request, as above; the protocol has changed it meanwhile.
    let u = unsafe { &mut *u };
    if let Some(at_us) = first_bytes
        && (rc != Status::NGX_AGAIN.0 || !begins_with_settings(u))
    {
        record.answer_began(at_us);
    }
    if rc == Status::NGX_OK.0 && bits::ngx_http_upstream_t::UPGRADE.is_set(u) {
        record.upgraded();
    } else if rc == Status::NGX_AGAIN.0 {
        Callbacks::follow(u, record);
    }
    rc
}

/// A gRPC server sends its settings as soon as there is a connection: until the head of an answer is whole, what has come may
/// be those, and only the protocol knows.
#[cold]
fn begins_with_settings(u: &ngx_http_upstream_t) -> bool {
    // SAFETY: set by nginx's proxy modules; it lives as long as the configuration.
    unsafe { &*u.conf }.module.as_bytes() == b"grpc"
}

/// Called before the request is sent again, and before an answer is read from the cache.
pub(super) unsafe extern "C" fn reinit_request(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx passes the request that starts anew.
    let Some((record, u)) = Record::serving(unsafe { &*r }) else { return Status::NGX_ERROR.into() };
    let Some(original) = record.callbacks().and_then(|callbacks| callbacks.reinit_request) else {
        return Status::NGX_ERROR.into();
    };
    // SAFETY: what nginx would have called.
    let rc = unsafe { original(r) };
    // The protocol begins with its first step again; ours goes in front of it. It may be another one than was found at first:
    // an answer from the cache has been through some steps before the balancer was asked.
    // SAFETY: the upstream of the request, as above.
    Callbacks::follow(unsafe { &mut *u }, record);
    rc
}

/// nginx calls it exactly once for each upstream request, before an internal redirect.
pub(super) unsafe extern "C" fn finalize_request(r: *mut ngx_http_request_t, rc: ngx_int_t) {
    // SAFETY: nginx passes the request whose upstream ends.
    let Some((record, u)) = Record::serving(unsafe { &*r }) else { return };
    // SAFETY: the upstream of the request; nobody else has it now.
    record.finish(unsafe { &*u.cast::<ngx_http_upstream_t>() }, rc);
    if let Some(original) = record.callbacks().and_then(|callbacks| callbacks.finalize_request) {
        // SAFETY: what nginx would have called.
        unsafe { original(r, rc) };
    }
}
