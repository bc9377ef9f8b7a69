//! Puts our callbacks in front of those that a balancer and a protocol have set.

use std::ptr;

use ngx::ffi::ngx_http_upstream_t;

use super::request::UpstreamRequest;
use super::{peer, protocol, sessions};
use crate::callbacks::{Callbacks, Usual};
use crate::group::Slot;

/// Takes the callbacks of the upstream and puts ours in front. `None`: the pool is exhausted.
#[inline]
pub(super) fn replace<'a>(
    u: &mut ngx_http_upstream_t,
    request: &UpstreamRequest,
    slot: &'a Slot,
) -> Option<&'a Callbacks> {
    u.peer.data = ptr::from_ref(request).cast_mut().cast();
    if let Some(usual) = slot.callbacks.get()
        && usual.theirs.are_those_of(u)
    {
        usual.ours.put_into(u);
        return Some(&usual.theirs);
    }
    let theirs = take(u, request, slot)?;
    wrapped(theirs).put_into(u);
    Some(theirs)
}

/// Ours in front of these. What the balancer does not have stays absent: nginx asks before it calls.
fn wrapped(theirs: &Callbacks) -> Callbacks {
    Callbacks {
        get: Some(peer::get),
        free: Some(peer::free),
        notify: theirs.notify.and(Some(peer::notify)),
        sessions: sessions::wrapped(theirs.sessions),
        process_header: theirs.process_header.and(Some(protocol::PROCESS_HEADER)),
        reinit_request: theirs.reinit_request.and(Some(protocol::reinit_request)),
        finalize_request: Some(protocol::finalize_request),
    }
}

#[cold]
fn take<'a>(u: &ngx_http_upstream_t, request: &UpstreamRequest, slot: &'a Slot) -> Option<&'a Callbacks> {
    let mut found = Callbacks::of(u);
    if let Some(first) = request.callbacks() {
        // The request is at its second slot: only the balancer is another one.
        found.process_header = first.process_header;
        found.reinit_request = first.reinit_request;
        found.finalize_request = first.finalize_request;
    } else if slot.callbacks.get().is_none() {
        let usual = || Usual { theirs: found, ours: wrapped(&found) };
        return Some(&slot.callbacks.get_or_init(usual).theirs);
    }
    request.keep_in_pool(found)
}
