//! What the module remembers of one upstream request, from the choice of its slot to its end.
//!
//! It lives in the request's pool, as the data of a clean-up entry. That is how it is found again after an internal redirect
//! has wiped the request's contexts, and why nothing needs to be freed.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::{self, NonNull};

use cutover_core::counters::{Outcome, Shard};
use ngx::core::Status;
use ngx::ffi::{
    NGX_HTTP_BAD_GATEWAY, NGX_HTTP_CLIENT_CLOSED_REQUEST, NGX_HTTP_GATEWAY_TIME_OUT,
    NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_HTTP_REQUEST_TIME_OUT, NGX_HTTP_SPECIAL_RESPONSE,
    NGX_HTTP_SWITCHING_PROTOCOLS, ngx_http_request_t, ngx_http_upstream_t, ngx_int_t, ngx_pool_cleanup_add,
    ngx_pool_cleanup_t,
};

use super::peer::Originals;
#[cfg(ngx_feature = "http_cache")]
use ngx::ffi::NGX_HTTP_CACHE_STALE;

use crate::ext::connection;
use crate::group::{Choice, Group, Slot};

/// How far the request has come.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The slot is chosen, and held: nothing is sent yet.
    Chosen,
    /// Given to the slot's upstream.
    Started,
    /// Counted as answered.
    Finished,
}

type Finalize = unsafe extern "C" fn(r: *mut ngx_http_request_t, rc: ngx_int_t);

/// One upstream request.
///
/// Callbacks may nest (a balancer that evaluates `$cutover_slot`), so it is only ever shared, and changed through cells.
pub(crate) struct Record {
    request: *mut ngx_http_request_t,
    upstream: *mut ngx_http_upstream_t,
    group: NonNull<Group>,
    generation: u32,
    /// Position in the group's slots.
    slot: u8,
    stage: Cell<Stage>,
    pub(super) originals: Cell<Originals>,
    original_finalize: Cell<Option<Finalize>>,
}

// A request's pool is 4 KB, and nginx itself fills most of it: what is small here saves a second block.
const _: () = assert!(size_of::<Record>() <= 88);

impl Record {
    /// Adds a record for the upstream that the request has now; `None` if the pool is exhausted.
    pub(crate) fn add<'a>(r: &mut ngx_http_request_t, group: &Group, choice: Choice) -> Option<&'a Self> {
        // SAFETY: the pool is the request's.
        let cleanup = unsafe { ngx_pool_cleanup_add(r.pool, size_of::<Self>()) };
        // SAFETY: an entry of the request's pool, or null.
        let cleanup = unsafe { cleanup.as_mut() }?;
        let place: *mut Self = cleanup.data.cast();
        let record = Self {
            request: r,
            upstream: r.upstream,
            group: group.into(),
            generation: choice.generation,
            slot: u8::try_from(choice.slot).ok()?,
            stage: Cell::new(Stage::Chosen),
            originals: Cell::default(),
            original_finalize: Cell::new(None),
        };
        // SAFETY: nginx allocated the size of a record there, aligned for any type.
        unsafe { place.write(record) };
        cleanup.handler = Some(CLEANUP);
        // SAFETY: just written; it lives as long as the request's pool.
        let record = unsafe { place.as_ref() }?;
        if let Some(shard) = record.shard() {
            shard.hold();
        }
        Some(record)
    }

    /// The record that was made for the upstream which the request has now, if it is not in use yet.
    pub(crate) fn chosen_for<'a>(r: &ngx_http_request_t) -> Option<&'a Self> {
        Self::of_upstream(r).filter(|record| record.stage.get() == Stage::Chosen)
    }

    /// Whether the upstream that the request has now has a record.
    pub(crate) fn exists_for_upstream(r: &ngx_http_request_t) -> bool {
        Self::of_upstream(r).is_some()
    }

    fn of_upstream<'a>(r: &ngx_http_request_t) -> Option<&'a Self> {
        Self::all(r).find(|record| ptr::eq(record.upstream, r.upstream))
    }

    /// The latest record of this request (not of its subrequests).
    pub(crate) fn latest<'a>(r: &ngx_http_request_t) -> Option<&'a Self> {
        Self::all(r).find(|record| ptr::eq(record.request, r))
    }

    /// Latest first. A pool is shared by a request and its subrequests.
    fn all<'a>(r: &ngx_http_request_t) -> impl Iterator<Item = &'a Self> + use<'a> {
        // SAFETY: a request's pool lives as long as the request.
        let mut next: *mut ngx_pool_cleanup_t = unsafe { (*r.pool).cleanup };
        std::iter::from_fn(move || {
            loop {
                // SAFETY: nginx links the entries of the pool and ends them with null.
                let entry = unsafe { next.as_ref() }?;
                next = entry.next;
                if is_ours(entry) {
                    // SAFETY: only `add` uses this handler, with a record as the data.
                    return unsafe { entry.data.cast::<Self>().as_ref() };
                }
            }
        })
    }

    pub(crate) fn group(&self) -> &Group {
        // SAFETY: the group lives as long as the cycle, which outlives the request.
        unsafe { self.group.as_ref() }
    }

    /// The route's generation when the slot was chosen.
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    fn slot(&self) -> Option<&Slot> {
        self.group().slots.get(usize::from(self.slot))
    }

    pub(crate) fn slot_name(&self) -> &str {
        self.slot().map_or("", |slot| slot.name.as_str())
    }

    /// Where this process counts for the record's slot.
    #[inline]
    pub(super) fn shard(&self) -> Option<&Shard> {
        self.group().shard(usize::from(self.slot))
    }

    /// Whether not a byte of an answer has come in this attempt.
    pub(super) fn has_no_answer(&self) -> bool {
        // SAFETY: the upstream that the record was made for; it lives as long as the request.
        let state = unsafe { self.upstream.as_ref() }.map(|u| u.state);
        // SAFETY: null, or the state of the attempt, in the request's pool.
        state.is_some_and(|state| unsafe { state.as_ref() }.is_some_and(|state| state.bytes_received == 0))
    }

    /// Hands the request to the slot's upstream and puts our callbacks in front of its own.
    pub(super) fn start(&self) -> ngx_int_t {
        let target = self.slot().and_then(|slot| slot.upstream.get());
        // SAFETY: the upstream that the record was made for; it lives as long as the request.
        let (Some(target), Some(u)) = (target, unsafe { self.upstream.as_mut() }) else {
            return Status::NGX_ERROR.into();
        };
        // Balancers take what they find in peer.data for their own.
        Originals::clear(&mut u.peer);
        // nginx copies peer names out of shared memory only if the upstream it sees here has a zone.
        u.upstream = target.as_ptr();
        // Read now, not when the configuration was parsed: some modules put themselves in front later.
        // SAFETY: an upstream of the configuration.
        let init = unsafe { target.as_ref() }.peer.init;
        let Some(init) = init else { return Status::NGX_ERROR.into() };
        // SAFETY: nginx itself would call it with this request and this upstream.
        let rc = unsafe { init(self.request, target.as_ptr()) };
        if rc != Status::NGX_OK.0 {
            return rc;
        }
        // SAFETY: as above; the balancer has changed it meanwhile, so it is borrowed anew.
        let Some(u) = (unsafe { self.upstream.as_mut() }) else { return Status::NGX_ERROR.into() };
        self.originals.set(Originals::replace(&mut u.peer, self));
        self.original_finalize.set(u.finalize_request.replace(finalize));
        self.stage.set(Stage::Started);
        if let Some(shard) = self.shard() {
            shard.started();
        }
        rc
    }

    fn finish(&self, u: &ngx_http_upstream_t, rc: ngx_int_t) {
        if self.stage.replace(Stage::Finished) != Stage::Started {
            return;
        }
        // SAFETY: the request that the record was made for; its pool, where the record is, goes with it.
        let client_gone = connection(unsafe { &*self.request }).error() != 0;
        if let Some(shard) = self.shard() {
            if is_cut_off(u, rc) {
                shard.attempt_failed();
            }
            shard.finished(outcome(u, rc, client_gone));
        }
    }
}

/// An answer that began and did not end well: the peer is still held, so peer.free has not been told of a failure.
fn is_cut_off(u: &ngx_http_upstream_t, rc: ngx_int_t) -> bool {
    let bad = rc == NGX_HTTP_BAD_GATEWAY as ngx_int_t || rc == NGX_HTTP_GATEWAY_TIME_OUT as ngx_int_t;
    bad && !u.peer.sockaddr.is_null() && u.upgrade() == 0
}

/// `rc` of ngx_http_upstream_finalize_request: a status when nginx answers in the slot's place, else the slot's own counts.
fn outcome(u: &ngx_http_upstream_t, rc: ngx_int_t, client_gone: bool) -> Outcome {
    const GONE: ngx_int_t = NGX_HTTP_CLIENT_CLOSED_REQUEST as ngx_int_t;
    const SLOW_CLIENT: ngx_int_t = NGX_HTTP_REQUEST_TIME_OUT as ngx_int_t;
    let answered = u.headers_in.status_n;
    if u.upgrade() != 0 {
        // However an upgraded connection ends, also by a time-out of an idle one: the slot did its part.
        return Outcome::Status(NGX_HTTP_SWITCHING_PROTOCOLS as u16);
    }
    if let Some(status) = hidden_by_cache(u) {
        return Outcome::Status(status);
    }
    match rc {
        GONE | SLOW_CLIENT => Outcome::Aborted,
        rc if rc >= NGX_HTTP_SPECIAL_RESPONSE as ngx_int_t => Outcome::Status(rc as u16),
        _ if answered != 0 => Outcome::Status(answered as u16),
        _ if client_gone || rc == Status::NGX_DONE.0 => Outcome::Aborted,
        _ => Outcome::Status(NGX_HTTP_INTERNAL_SERVER_ERROR as u16),
    }
}

/// With `proxy_cache_use_stale` nginx answers from the cache in place of a slot that failed, and reads the old status over the
/// new one: the attempt still has it.
#[cfg(ngx_feature = "http_cache")]
fn hidden_by_cache(u: &ngx_http_upstream_t) -> Option<u16> {
    if u.cache_status() != NGX_HTTP_CACHE_STALE {
        return None;
    }
    // SAFETY: null, or the state of the last attempt, in the request's pool.
    let status = unsafe { u.state.as_ref() }?.status;
    u16::try_from(status).ok().filter(|status| *status != 0)
}

#[cfg(not(ngx_feature = "http_cache"))]
fn hidden_by_cache(_: &ngx_http_upstream_t) -> Option<u16> {
    None
}

/// In front of the upstream's own finalize_request, which nginx calls exactly once, before an internal redirect.
unsafe extern "C" fn finalize(r: *mut ngx_http_request_t, rc: ngx_int_t) {
    // SAFETY: nginx passes the request whose upstream ends.
    let request = unsafe { &*r };
    // By the request alone if another module has put another upstream in the place of ours.
    let Some(record) = Record::of_upstream(request).or_else(|| Record::latest(request)) else { return };
    // SAFETY: the upstream that the record was made for; it lives as long as the request.
    if let Some(u) = unsafe { record.upstream.as_ref() } {
        record.finish(u, rc);
    }
    if let Some(original) = record.original_finalize.get() {
        // SAFETY: what nginx would have called.
        unsafe { original(r, rc) };
    }
}

/// The mark by which records are known among the entries of a pool. A static, because a function named twice may have two
/// addresses.
static CLEANUP: unsafe extern "C" fn(*mut c_void) = cleanup;

fn is_ours(entry: &ngx_pool_cleanup_t) -> bool {
    entry.handler.is_some_and(|handler| ptr::fn_addr_eq(handler, CLEANUP))
}

/// The pool goes away. A request that was never finalized must not stay in flight.
unsafe extern "C" fn cleanup(data: *mut c_void) {
    // SAFETY: the record that `add` put there, in the pool that is being destroyed.
    let record: &Record = unsafe { &*data.cast() };
    let Some(shard) = record.shard() else { return };
    match record.stage.replace(Stage::Finished) {
        Stage::Chosen => shard.release(),
        Stage::Started => shard.finished(Outcome::Aborted),
        Stage::Finished => {}
    }
}
