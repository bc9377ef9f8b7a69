//! The five callbacks of a peer, each in front of the balancer's own.
//!
//! `peer.data` is our record while nginx holds it; each callback passes the balancer its own data back.

use std::ffi::c_void;
use std::ptr;

use ngx::core::Status;
use ngx::ffi::{
    NGX_PEER_FAILED, ngx_connection_t, ngx_event_free_peer_pt, ngx_event_get_peer_pt,
    ngx_event_notify_peer_pt, ngx_event_save_peer_session_pt, ngx_event_set_peer_session_pt, ngx_int_t,
    ngx_peer_connection_t, ngx_uint_t,
};

use super::Record;

/// What the balancer had put into the peer.
#[derive(Clone, Copy)]
pub(super) struct Originals {
    data: *mut c_void,
    get: ngx_event_get_peer_pt,
    free: ngx_event_free_peer_pt,
    notify: ngx_event_notify_peer_pt,
    set_session: ngx_event_set_peer_session_pt,
    save_session: ngx_event_save_peer_session_pt,
}

impl Default for Originals {
    fn default() -> Self {
        Self {
            data: ptr::null_mut(),
            get: None,
            free: None,
            notify: None,
            set_session: None,
            save_session: None,
        }
    }
}

impl Originals {
    /// Leaves nothing of an earlier balancer for the next one to mistake for its own.
    pub(super) fn clear(peer: &mut ngx_peer_connection_t) {
        peer.data = ptr::null_mut();
        peer.notify = None;
        peer.set_session = None;
        peer.save_session = None;
    }

    /// Puts ours in front. What the balancer does not have stays absent: nginx asks before it calls.
    pub(super) fn replace(peer: &mut ngx_peer_connection_t, record: &Record) -> Self {
        let originals = Self {
            data: peer.data,
            get: peer.get,
            free: peer.free,
            notify: peer.notify,
            set_session: peer.set_session,
            save_session: peer.save_session,
        };
        peer.data = ptr::from_ref(record).cast_mut().cast();
        peer.get = Some(get);
        peer.free = Some(free);
        peer.notify = peer.notify.and(Some(notify));
        peer.set_session = peer.set_session.and(Some(set_session));
        peer.save_session = peer.save_session.and(Some(save_session));
        originals
    }
}

/// # Safety
/// `data` must be what [`Originals::replace`] put into `peer.data`.
unsafe fn record<'a>(data: *mut c_void) -> &'a Record {
    // SAFETY: the caller vouches for it; the record lives in the request's pool, which outlives the peer.
    unsafe { &*data.cast() }
}

unsafe extern "C" fn get(pc: *mut ngx_peer_connection_t, data: *mut c_void) -> ngx_int_t {
    // SAFETY: nginx passes peer.data back.
    let record = unsafe { record(data) };
    let Some(original) = record.originals.get().get else { return Status::NGX_ERROR.into() };
    // SAFETY: what nginx would have called, with what it would have passed.
    let rc = unsafe { original(pc, record.originals.get().data) };
    if let Some(shard) = record.shard() {
        shard.attempt();
        // No live peer, or an error of the balancer: nginx will not call free for this attempt.
        if rc == Status::NGX_BUSY.0 || rc == Status::NGX_ERROR.0 {
            shard.attempt_failed();
        }
    }
    rc
}

unsafe extern "C" fn free(pc: *mut ngx_peer_connection_t, data: *mut c_void, state: ngx_uint_t) {
    // SAFETY: nginx passes peer.data back.
    let record = unsafe { record(data) };
    // SAFETY: nginx passes the peer's connection.
    let failed =
        state & NGX_PEER_FAILED as ngx_uint_t != 0 && !was_closed_while_idle(unsafe { &*pc }, record);
    if failed && let Some(shard) = record.shard() {
        shard.attempt_failed();
    }
    if let Some(original) = record.originals.get().free {
        // SAFETY: what nginx would have called, with what it would have passed.
        unsafe { original(pc, record.originals.get().data, state) };
    }
}

/// A kept connection that the server had closed before nginx used it again is no failure of the server: nginx tries anew, and
/// does not count the try either (ngx_http_upstream_next).
fn was_closed_while_idle(pc: &ngx_peer_connection_t, record: &Record) -> bool {
    // SAFETY: null, or the connection that this attempt used.
    let Some(connection) = (unsafe { pc.connection.as_ref() }) else { return false };
    pc.cached() != 0 && !timed_out(connection) && record.has_no_answer()
}

fn timed_out(connection: &ngx_connection_t) -> bool {
    // SAFETY: each connection has its events.
    let read = unsafe { &*connection.read };
    // SAFETY: as above.
    let write = unsafe { &*connection.write };
    read.timedout() != 0 || write.timedout() != 0
}

unsafe extern "C" fn notify(pc: *mut ngx_peer_connection_t, data: *mut c_void, kind: ngx_uint_t) {
    // SAFETY: nginx passes peer.data back.
    let record = unsafe { record(data) };
    if let Some(original) = record.originals.get().notify {
        // SAFETY: what nginx would have called, with what it would have passed.
        unsafe { original(pc, record.originals.get().data, kind) };
    }
}

unsafe extern "C" fn set_session(pc: *mut ngx_peer_connection_t, data: *mut c_void) -> ngx_int_t {
    // SAFETY: nginx passes peer.data back.
    let record = unsafe { record(data) };
    match record.originals.get().set_session {
        // SAFETY: what nginx would have called, with what it would have passed.
        Some(original) => unsafe { original(pc, record.originals.get().data) },
        None => Status::NGX_OK.into(),
    }
}

unsafe extern "C" fn save_session(pc: *mut ngx_peer_connection_t, data: *mut c_void) {
    // SAFETY: nginx passes peer.data back.
    let record = unsafe { record(data) };
    if let Some(original) = record.originals.get().save_session {
        // SAFETY: what nginx would have called, with what it would have passed.
        unsafe { original(pc, record.originals.get().data) };
    }
}
