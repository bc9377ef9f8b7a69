//! What a balancer and a protocol bring for one upstream request, and what is put in its place.
//!
//! Nearly all requests of a slot bring the same, so the slot keeps it once and a request only points there: the pool of a
//! request is small.

use std::ffi::c_void;
use std::ptr;

use ngx::ffi::{
    ngx_event_free_peer_pt, ngx_event_get_peer_pt, ngx_event_notify_peer_pt, ngx_http_request_t,
    ngx_http_upstream_t, ngx_int_t, ngx_palloc, ngx_peer_connection_t,
};

use super::sessions::Sessions;
use super::{Record, peer, protocol};
use crate::group::Slot;

/// A static, because a function named twice may have two addresses.
static PROCESS_HEADER: unsafe extern "C" fn(r: *mut ngx_http_request_t) -> ngx_int_t =
    protocol::process_header;

type Protocol = Option<unsafe extern "C" fn(r: *mut ngx_http_request_t) -> ngx_int_t>;
type Finalize = Option<unsafe extern "C" fn(r: *mut ngx_http_request_t, rc: ngx_int_t)>;

/// What most requests of a slot bring, and what takes its place.
#[derive(Debug)]
pub(crate) struct Usual {
    theirs: Callbacks,
    ours: Callbacks,
}

/// Callbacks of one upstream request: those that were there, or those in front of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Callbacks {
    pub(super) get: ngx_event_get_peer_pt,
    pub(super) free: ngx_event_free_peer_pt,
    pub(super) notify: ngx_event_notify_peer_pt,
    pub(super) sessions: Sessions,
    pub(super) process_header: Protocol,
    pub(super) reinit_request: Protocol,
    pub(super) finalize_request: Finalize,
}

impl Callbacks {
    /// What the upstream has now: after its balancer's `peer.init`.
    fn of(u: &ngx_http_upstream_t) -> Self {
        Self {
            get: u.peer.get,
            free: u.peer.free,
            notify: u.peer.notify,
            sessions: Sessions::of(&u.peer),
            process_header: u.process_header,
            reinit_request: u.reinit_request,
            finalize_request: u.finalize_request,
        }
    }

    /// Ours in front of these. What the balancer does not have stays absent: nginx asks before it calls.
    fn wrapped(&self) -> Self {
        Self {
            get: Some(peer::get),
            free: Some(peer::free),
            notify: self.notify.and(Some(peer::notify)),
            sessions: self.sessions.wrapped(),
            process_header: self.process_header.and(Some(PROCESS_HEADER)),
            reinit_request: self.reinit_request.and(Some(protocol::reinit_request)),
            finalize_request: Some(protocol::finalize_request),
        }
    }

    #[inline]
    fn put_into(&self, u: &mut ngx_http_upstream_t) {
        u.peer.get = self.get;
        u.peer.free = self.free;
        u.peer.notify = self.notify;
        self.sessions.put_into(&mut u.peer);
        u.process_header = self.process_header;
        u.reinit_request = self.reinit_request;
        u.finalize_request = self.finalize_request;
    }

    /// Whether the upstream has just these; a `false` for two copies of one function costs a little memory.
    #[inline]
    fn are_those_of(&self, u: &ngx_http_upstream_t) -> bool {
        macro_rules! same {
            ($($ours:expr, $theirs:expr;)+) => {
                $(($ours.map(|f| f as usize) == $theirs.map(|f| f as usize)))&&+
            };
        }
        let same = same! {
            self.get, u.peer.get;
            self.free, u.peer.free;
            self.notify, u.peer.notify;
            self.process_header, u.process_header;
            self.reinit_request, u.reinit_request;
            self.finalize_request, u.finalize_request;
        };
        same && self.sessions.are_those_of(&u.peer)
    }

    /// Takes the callbacks of the upstream and puts ours in front. `None`: the pool is exhausted.
    #[inline]
    pub(super) fn replace<'a>(
        u: &mut ngx_http_upstream_t,
        record: &Record,
        slot: &'a Slot,
    ) -> Option<&'a Self> {
        u.peer.data = ptr::from_ref(record).cast_mut().cast();
        if let Some(usual) = slot.callbacks.get()
            && usual.theirs.are_those_of(u)
        {
            usual.ours.put_into(u);
            return Some(&usual.theirs);
        }
        let theirs = Self::take(u, record, slot)?;
        theirs.wrapped().put_into(u);
        Some(theirs)
    }

    #[cold]
    fn take<'a>(u: &ngx_http_upstream_t, record: &Record, slot: &'a Slot) -> Option<&'a Self> {
        let mut found = Self::of(u);
        if let Some(first) = record.callbacks() {
            // The request has come to a second slot: only the balancer is another one.
            found.process_header = first.process_header;
            found.reinit_request = first.reinit_request;
            found.finalize_request = first.finalize_request;
        } else if slot.callbacks.get().is_none() {
            return Some(
                &slot.callbacks.get_or_init(|| Usual { theirs: found, ours: found.wrapped() }).theirs,
            );
        }
        Self::keep(record, found)
    }

    /// The protocol has put another step of its own into the upstream: it is kept, and ours goes in front. If the pool is
    /// exhausted the step runs alone, and what it finds out is not counted.
    pub(super) fn follow(u: &mut ngx_http_upstream_t, record: &Record) {
        let (Some(step), Some(kept)) = (u.process_header, record.callbacks()) else { return };
        if ptr::fn_addr_eq(step, PROCESS_HEADER) {
            return;
        }
        let known = kept.process_header.is_some_and(|known| ptr::fn_addr_eq(known, step));
        if !known {
            match Self::keep(record, Self { process_header: Some(step), ..*kept }) {
                Some(kept) => record.keep_callbacks(kept),
                None => return,
            }
        }
        u.process_header = Some(PROCESS_HEADER);
    }

    fn keep<'a>(record: &Record, found: Self) -> Option<&'a Self> {
        // SAFETY: the pool of the request that the record was made for.
        let place: *mut Self = unsafe { ngx_palloc(record.pool(), size_of::<Self>()) }.cast();
        if place.is_null() {
            return None;
        }
        // SAFETY: room for the callbacks; nginx aligns what it gives for any type.
        unsafe { place.write(found) };
        // SAFETY: just written; it lives as long as the request's pool.
        unsafe { place.as_ref() }
    }

    /// Leaves nothing of an earlier balancer for the next one to mistake for its own.
    pub(super) fn clear(peer: &mut ngx_peer_connection_t) {
        peer.data = ptr::null_mut::<c_void>();
        peer.notify = None;
        Sessions::clear(peer);
    }
}
