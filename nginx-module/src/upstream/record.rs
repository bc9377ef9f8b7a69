//! What the module remembers of one upstream request, from the choice of its slot to its end.
//!
//! It lives in the request's pool, and the upstream's peer leads to it. Two kinds need more, a clean-up entry of the pool:
//! one whose slot was chosen before nginx connects, because nothing else would let go of the slot; and one that ends with an
//! internal redirect, because that wipes the request's contexts and may give it another upstream.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::{self, NonNull};

use cutover_core::shard::{Failure, Outcome, Shard};
use ngx::core::Status;
use ngx::ffi::{
    NGX_HTTP_BAD_GATEWAY, NGX_HTTP_CLIENT_CLOSED_REQUEST, NGX_HTTP_GATEWAY_TIME_OUT,
    NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_HTTP_REQUEST_TIME_OUT, NGX_HTTP_SPECIAL_RESPONSE,
    NGX_HTTP_SWITCHING_PROTOCOLS, ngx_event_get_peer_pt, ngx_http_request_t, ngx_http_upstream_state_t,
    ngx_http_upstream_t, ngx_int_t, ngx_palloc, ngx_peer_connection_t, ngx_pool_cleanup_add,
    ngx_pool_cleanup_t, ngx_pool_t,
};

use super::{Callbacks, peer};
#[cfg(ngx_feature = "http_cache")]
use ngx::ffi::NGX_HTTP_CACHE_STALE;

use crate::clock;
use crate::ext::connection;
use crate::group::{Choice, Group, Slot};
use crate::trial;

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

/// How far the attempt has come that is being made.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    /// None is, or it has failed.
    None,
    /// No byte of an answer yet.
    Waiting,
    /// An answer has begun.
    Answering,
    /// The connection was upgraded.
    Upgraded,
}

/// Whether a failed request may be tried again on the other slot.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rescue {
    /// Not armed, or done.
    No,
    /// The trial was just being armed when the request began: when it fails, it will be known.
    Unclear,
    /// Armed for the slot of this request.
    Possible,
    /// The next attempt goes to the fallback.
    Due,
}

/// One upstream request.
///
/// Callbacks may nest (a balancer that evaluates `$cutover_slot`), so it is only ever shared, and changed through cells.
pub(crate) struct Record {
    request: *mut ngx_http_request_t,
    upstream: *mut ngx_http_upstream_t,
    group: NonNull<Group>,
    /// Where this process counts for the slot.
    shard: Cell<Option<NonNull<Shard>>>,
    callbacks: Cell<Option<NonNull<Callbacks>>>,
    /// What the balancer had put into `peer.data`.
    balancer_data: Cell<*mut c_void>,
    /// When the attempt began, in microseconds of the monotonic clock.
    began_us: Cell<u64>,
    generation: u32,
    /// What the first byte of the answer took.
    first_byte_us: Cell<u32>,
    /// Position in the group's slots.
    slot: Cell<u8>,
    stage: Cell<Stage>,
    attempt: Cell<Attempt>,
    on_trial: bool,
    rescue: Cell<Rescue>,
    /// Attempts so far, of all slots.
    attempts: Cell<u8>,
}

// A request's pool is 4 KB, and nginx itself fills most of it: what is small here saves a second block.
const _: () = assert!(size_of::<Record>() <= 72);

/// The mark by which our records are known in a peer. A static, because a function named twice may have two addresses.
static GET: ngx_event_get_peer_pt = Some(peer::get);

impl Record {
    /// Makes a record for the upstream that the request has now; `None` if the pool is exhausted.
    #[inline]
    pub(super) fn new<'a>(
        r: &mut ngx_http_request_t,
        u: *mut ngx_http_upstream_t,
        group: &Group,
        choice: Choice,
    ) -> Option<&'a Self> {
        // SAFETY: the pool is the request's.
        let place: *mut Self = unsafe { ngx_palloc(r.pool, size_of::<Self>()) }.cast();
        if place.is_null() {
            return None;
        }
        let shard = group.shard(choice.slot);
        let record = Self {
            request: r,
            upstream: u,
            group: group.into(),
            shard: Cell::new(shard.map(NonNull::from)),
            callbacks: Cell::new(None),
            balancer_data: Cell::new(ptr::null_mut()),
            began_us: Cell::new(0),
            generation: choice.generation,
            first_byte_us: Cell::new(0),
            slot: Cell::new(choice.slot as u8),
            stage: Cell::new(Stage::Chosen),
            attempt: Cell::new(Attempt::None),
            on_trial: choice.on_trial,
            rescue: Cell::new(Rescue::No),
            attempts: Cell::new(0),
        };
        // SAFETY: room for a record; nginx aligns what it gives for any type.
        unsafe { place.write(record) };
        if let Some(shard) = shard {
            shard.hold();
        }
        // SAFETY: just written; it lives as long as the request's pool.
        unsafe { place.as_ref() }
    }

    /// The same before nginx connects, perhaps never: the pool lets go of the slot, and the peer leads here already.
    pub(crate) fn choose_early<'a>(
        r: &mut ngx_http_request_t,
        group: &Group,
        choice: Choice,
    ) -> Option<&'a Self> {
        let u = r.upstream;
        let record = Self::new(r, u, group, choice)?;
        record.remember()?;
        if let Some(peer) = NonNull::new(u) {
            // SAFETY: the upstream that the request has now, not in use yet.
            let peer = unsafe { &mut (*peer.as_ptr()).peer };
            peer.get = GET;
            peer.data = ptr::from_ref(record).cast_mut().cast();
        }
        Some(record)
    }

    /// The record of this upstream.
    #[inline]
    fn of_upstream<'a>(u: &ngx_http_upstream_t) -> Option<&'a Self> {
        let ours = u.peer.get.map(|get| get as usize) == GET.map(|get| get as usize);
        // SAFETY: only with a record as its data is our get in a peer; it lives in the pool of the request.
        if ours { unsafe { u.peer.data.cast::<Self>().as_ref() } } else { None }
    }

    /// The record that was made early for the upstream which the request has now, if it is not in use yet.
    #[inline]
    pub(super) fn chosen_for<'a>(u: &ngx_http_upstream_t) -> Option<&'a Self> {
        Self::of_upstream(u).filter(|record| record.stage.get() == Stage::Chosen)
    }

    /// The record of the request whose callback nginx calls, and its upstream.
    #[inline]
    pub(super) fn serving<'a>(r: &ngx_http_request_t) -> Option<(&'a Self, *mut ngx_http_upstream_t)> {
        // SAFETY: null, or the upstream of the request.
        let own = unsafe { r.upstream.as_ref() }.and_then(Self::of_upstream);
        // By the request alone if another module has put itself in front of our peer, or another upstream in its place.
        let record = own.or_else(|| Self::remembered(r))?;
        Some((record, record.upstream))
    }

    /// Whether the upstream that the request has now has a record.
    pub(crate) fn exists_for_upstream(r: &ngx_http_request_t) -> bool {
        // SAFETY: null, or the upstream of the request.
        unsafe { r.upstream.as_ref() }.and_then(Self::of_upstream).is_some()
    }

    /// The latest record of this request (not of its subrequests).
    pub(crate) fn latest<'a>(r: &ngx_http_request_t) -> Option<&'a Self> {
        // SAFETY: null, or the upstream of the request.
        let own = unsafe { r.upstream.as_ref() }.and_then(Self::of_upstream);
        own.or_else(|| Self::remembered(r))
    }

    /// The latest record of this request that has a clean-up entry. A pool is shared by a request and its subrequests.
    #[cold]
    fn remembered<'a>(r: &ngx_http_request_t) -> Option<&'a Self> {
        // SAFETY: a request's pool lives as long as the request.
        let mut next: *mut ngx_pool_cleanup_t = unsafe { (*r.pool).cleanup };
        loop {
            // SAFETY: nginx links the entries of the pool, latest first, and ends them with null.
            let entry = unsafe { next.as_ref() }?;
            next = entry.next;
            if !is_ours(entry) {
                continue;
            }
            // SAFETY: only `remember` uses this handler, with a record as the data.
            let record = unsafe { entry.data.cast::<Self>().as_ref() }?;
            if ptr::eq(record.request, r) {
                return Some(record);
            }
        }
    }

    /// Adds a clean-up entry; `None` if the pool is exhausted.
    #[cold]
    fn remember(&self) -> Option<()> {
        // SAFETY: the pool is the request's.
        let entry = unsafe { ngx_pool_cleanup_add(self.pool(), 0) };
        // SAFETY: an entry of the pool, or null.
        let entry = unsafe { entry.as_mut() }?;
        entry.data = ptr::from_ref(self).cast_mut().cast();
        entry.handler = Some(CLEANUP);
        Some(())
    }

    /// The pool that the record is in.
    pub(super) fn pool(&self) -> *mut ngx_pool_t {
        // SAFETY: the request that the record was made for: the record lives in its pool.
        unsafe { (*self.request).pool }
    }

    #[inline]
    pub(crate) fn group(&self) -> &Group {
        // SAFETY: the group lives as long as the cycle, which outlives the request.
        unsafe { self.group.as_ref() }
    }

    /// The route's generation when the slot was chosen.
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    #[inline]
    fn slot(&self) -> Option<&Slot> {
        self.group().slots.get(usize::from(self.slot.get()))
    }

    pub(crate) fn slot_name(&self) -> &str {
        self.slot().map_or("", |slot| slot.name.as_str())
    }

    #[inline]
    pub(super) fn callbacks(&self) -> Option<&Callbacks> {
        // SAFETY: in the slot, or in the request's pool: both outlive the record.
        self.callbacks.get().map(|callbacks| unsafe { callbacks.as_ref() })
    }

    #[inline]
    pub(super) fn balancer_data(&self) -> *mut c_void {
        self.balancer_data.get()
    }

    #[inline]
    fn shard(&self) -> Option<&Shard> {
        // SAFETY: a page of the counters, which live as long as the cycle.
        self.shard.get().map(|shard| unsafe { shard.as_ref() })
    }

    /// Hands the request to the slot's upstream and puts our callbacks in front of its own.
    #[inline]
    pub(super) fn start(&self) -> ngx_int_t {
        let rc = self.enter_slot();
        if rc == Status::NGX_OK.0 {
            self.stage.set(Stage::Started);
            if self.on_trial {
                self.prepare_rescue();
            }
            if let Some(shard) = self.shard() {
                shard.started();
            }
        }
        rc
    }

    #[inline(always)]
    fn enter_slot(&self) -> ngx_int_t {
        let Some((slot, target)) = self.slot().and_then(|slot| Some((slot, slot.upstream.get()?))) else {
            return Status::NGX_ERROR.into();
        };
        // SAFETY: the upstream that the record was made for; it lives as long as the request.
        let u = unsafe { &mut *self.upstream };
        // Balancers take what they find in peer.data for their own.
        Callbacks::clear(&mut u.peer);
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
        let u = unsafe { &mut *self.upstream };
        let data = u.peer.data;
        let Some(callbacks) = Callbacks::replace(u, self, slot) else { return Status::NGX_ERROR.into() };
        self.balancer_data.set(data);
        self.callbacks.set(Some(callbacks.into()));
        rc
    }

    /// If rescue is armed for the slot, nginx shall know of one try more: it does not even look at a bad status otherwise
    /// (ngx_http_upstream_test_next).
    fn prepare_rescue(&self) {
        let Some(words) = self.group().trial_words() else { return };
        let own = self.slot().and_then(|slot| slot.id.get());
        let rescue = match words.rescued_slot(self.generation) {
            rescued @ Some(_) if rescued == own => Rescue::Possible,
            None if words.is_unfinished(self.generation) => Rescue::Unclear,
            _ => return,
        };
        self.rescue.set(rescue);
        // SAFETY: the upstream that the record was made for; it lives as long as the request.
        unsafe { (*self.upstream).peer.tries += 1 };
    }

    /// An attempt has failed: whether the request may be rescued must be known now. If not, nginx has one try less.
    #[cold]
    pub(super) fn settle_rescue(&self, peer: &mut ngx_peer_connection_t) {
        if self.rescue.get() != Rescue::Unclear {
            return;
        }
        let terms = self.group().trial_words().and_then(|words| words.terms_of(self.generation));
        let own = self.slot().and_then(|slot| slot.id.get());
        if terms.is_some_and(|terms| terms.rescue && Some(terms.slot) == own) {
            self.rescue.set(Rescue::Possible);
        } else {
            self.rescue.set(Rescue::No);
            peer.tries = peer.tries.saturating_sub(1);
        }
    }

    /// A peer is about to be tried.
    #[inline]
    pub(super) fn attempt_begins(&self) {
        self.began_us.set(clock::micros());
        self.attempt.set(Attempt::Waiting);
        self.attempts.set(self.attempts.get().saturating_add(1));
        if let Some(shard) = self.shard() {
            shard.attempt();
        }
    }

    /// Bytes of an answer have come.
    #[inline]
    pub(super) fn answer_begins(&self) {
        if self.attempt.get() != Attempt::Waiting {
            return;
        }
        self.attempt.set(Attempt::Answering);
        let took = clock::micros().saturating_sub(self.began_us.get());
        self.first_byte_us.set(u32::try_from(took).unwrap_or(u32::MAX));
        if let Some(shard) = self.shard() {
            shard.first_byte(took);
        }
    }

    /// The slot has agreed to an upgrade.
    #[cold]
    pub(super) fn upgraded(&self) {
        if self.attempt.replace(Attempt::Upgraded) == Attempt::Answering
            && let Some(shard) = self.shard()
        {
            shard.upgraded();
        }
    }

    /// Whether the attempt has a connection, the status that its answer began with, and the bytes that came.
    #[cold]
    pub(super) fn how_far(&self) -> (bool, usize, i64) {
        let Some(state) = self.state() else { return (false, 0, 0) };
        // nginx sets it once the connection, and TLS on it, stands (ngx_http_upstream_send_request).
        let connected = state.connect_time != usize::MAX;
        (connected, state.status, state.bytes_received)
    }

    fn state(&self) -> Option<&ngx_http_upstream_state_t> {
        // SAFETY: the upstream that the record was made for; it lives as long as the request.
        let state = unsafe { (*self.upstream).state };
        // SAFETY: null, or the state of the attempt, in the request's pool.
        unsafe { state.as_ref() }
    }

    /// The attempt has failed; nginx decides whether there is another one.
    #[cold]
    pub(super) fn attempt_failed(&self, why: Failure) {
        self.attempt_ends();
        if let Some(shard) = self.shard() {
            shard.attempt_failed(why);
        }
    }

    /// The attempt met a connection that the server had closed while it was idle: nginx makes it anew.
    #[cold]
    pub(super) fn attempt_did_not_count(&self) {
        self.attempt.set(Attempt::None);
    }

    #[inline]
    fn attempt_ends(&self) {
        if self.attempt.replace(Attempt::None) == Attempt::None {
            return;
        }
        if let (Some(shard), Some(state)) = (self.shard(), self.state()) {
            shard.transferred(positive(state.bytes_sent), positive(state.bytes_received));
        }
    }

    /// Whether the request may go to the fallback, and `proxy_next_upstream_tries` leaves an attempt for it.
    pub(super) fn may_be_rescued(&self) -> bool {
        self.rescue.get() == Rescue::Possible && self.tries_left() > 0
    }

    /// Attempts that `proxy_next_upstream_tries` still allows.
    #[cold]
    fn tries_left(&self) -> usize {
        // SAFETY: the upstream that the record was made for; it lives as long as the request.
        let conf = unsafe { (*self.upstream).conf };
        // SAFETY: set by nginx's proxy modules; it lives as long as the configuration.
        match unsafe { (*conf).next_upstream_tries } {
            0 => usize::MAX,
            limit => limit.saturating_sub(usize::from(self.attempts.get())),
        }
    }

    pub(super) fn rescue_when_asked(&self) {
        self.rescue.set(Rescue::Due);
    }

    #[inline]
    pub(super) fn rescue_is_due(&self) -> bool {
        self.rescue.get() == Rescue::Due
    }

    /// The slot on trial has failed: the request goes to its fallback. An error is what `peer.get` answers then.
    #[cold]
    pub(super) fn go_to_fallback(&self) -> Result<(), ngx_int_t> {
        self.rescue.set(Rescue::No);
        let group = self.group();
        let fallback = group
            .trial_words()
            .and_then(|words| words.terms_of(self.generation))
            .and_then(|terms| group.position_of(terms.fallback));
        let Some(fallback) = fallback else { return Err(Status::NGX_BUSY.0) };
        self.leave_slot(Outcome::Rescued);
        self.slot.set(fallback as u8);
        self.shard.set(group.shard(fallback).map(NonNull::from));
        if let Some(shard) = self.shard() {
            shard.hold();
            shard.started();
        }
        match self.enter_slot() {
            rc if rc == Status::NGX_OK.0 => {
                // SAFETY: the upstream that the record was made for; the balancer has changed it meanwhile.
                let peer = unsafe { &mut (*self.upstream).peer };
                // As nginx does after a first peer.init (ngx_http_upstream_init_request).
                peer.tries = peer.tries.min(self.tries_left());
                Ok(())
            }
            rc => Err(rc),
        }
    }

    /// All of the upstream request ends.
    #[inline]
    pub(super) fn finish(&self, u: &ngx_http_upstream_t, rc: ngx_int_t) {
        if self.stage.replace(Stage::Finished) != Stage::Started {
            return;
        }
        let answered = u.headers_in.status_n;
        let usual = rc == Status::NGX_OK.0
            && self.attempt.get() == Attempt::Answering
            && (200..400).contains(&answered)
            && hidden_by_cache(u).is_none();
        if !usual {
            return self.finish_otherwise(u, rc);
        }
        if let Some(shard) = self.shard() {
            shard.whole(clock::micros().saturating_sub(self.began_us.get()));
        }
        self.attempt_ends();
        self.leave_slot(Outcome::Status(answered as u16));
    }

    /// The same for all but a whole answer to a request that went well.
    #[cold]
    fn finish_otherwise(&self, u: &ngx_http_upstream_t, rc: ngx_int_t) {
        // An internal redirect may follow: of an error_page, or of X-Accel-Redirect.
        if rc >= NGX_HTTP_SPECIAL_RESPONSE as ngx_int_t || rc == Status::NGX_DECLINED.0 {
            // Without an entry the variables are empty after the redirect, and nothing else.
            let _ = self.remember();
        }
        let outcome = self.outcome(u, rc);
        let attempt = self.attempt.get();
        let Some(shard) = self.shard() else { return };
        self.attempt_ends();
        match attempt {
            Attempt::None => {}
            Attempt::Upgraded => shard.downgraded(),
            Attempt::Waiting | Attempt::Answering if is_cut_off(u, rc) => {
                let late = rc == NGX_HTTP_GATEWAY_TIME_OUT as ngx_int_t;
                shard.attempt_failed(if late { Failure::Timeout } else { Failure::Answer });
            }
            Attempt::Answering if rc == Status::NGX_OK.0 => {
                shard.whole(clock::micros().saturating_sub(self.began_us.get()));
            }
            Attempt::Waiting | Attempt::Answering => {}
        }
        self.leave_slot(outcome);
    }

    #[inline]
    fn leave_slot(&self, outcome: Outcome) {
        if let Some(shard) = self.shard() {
            shard.finished(outcome);
        }
        if self.on_trial {
            self.tell_trial(outcome);
        }
    }

    fn tell_trial(&self, outcome: Outcome) {
        let took = u64::from(self.first_byte_us.get());
        // SAFETY: the request that the record was made for; its pool, where the record is, goes with it.
        let log = connection(unsafe { &*self.request }).log;
        let slot = usize::from(self.slot.get());
        trial::ended(self.group(), slot, self.generation, outcome, (took != 0).then_some(took), log);
    }

    /// `rc` of ngx_http_upstream_finalize_request: a status when nginx answers in the slot's place, else the slot's own counts.
    fn outcome(&self, u: &ngx_http_upstream_t, rc: ngx_int_t) -> Outcome {
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
            _ if rc == Status::NGX_DONE.0 || self.client_is_gone() => Outcome::Aborted,
            _ => Outcome::Status(NGX_HTTP_INTERNAL_SERVER_ERROR as u16),
        }
    }

    fn client_is_gone(&self) -> bool {
        // SAFETY: the request that the record was made for; its pool, where the record is, goes with it.
        connection(unsafe { &*self.request }).error() != 0
    }
}

/// nginx counts bytes with a sign.
#[inline]
fn positive(bytes: i64) -> u64 {
    u64::try_from(bytes).unwrap_or(0)
}

/// An answer that began and did not end well: the peer is still held, so peer.free has not been told of a failure.
fn is_cut_off(u: &ngx_http_upstream_t, rc: ngx_int_t) -> bool {
    let bad = rc == NGX_HTTP_BAD_GATEWAY as ngx_int_t || rc == NGX_HTTP_GATEWAY_TIME_OUT as ngx_int_t;
    bad && !u.peer.sockaddr.is_null() && u.upgrade() == 0
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

/// The mark by which records are known among the entries of a pool; a static for the same reason as [`GET`].
static CLEANUP: unsafe extern "C" fn(*mut c_void) = cleanup;

fn is_ours(entry: &ngx_pool_cleanup_t) -> bool {
    entry.handler.is_some_and(|handler| ptr::fn_addr_eq(handler, CLEANUP))
}

/// The pool goes away. A request whose slot was chosen early and that never got there must not stay in flight. (Of one that got
/// there nginx has told us the end: ngx_http_upstream_cleanup.)
unsafe extern "C" fn cleanup(data: *mut c_void) {
    // SAFETY: the record that `remember` put there, in the pool that is being destroyed.
    let record: &Record = unsafe { &*data.cast() };
    if record.stage.replace(Stage::Finished) == Stage::Chosen
        && let Some(shard) = record.shard()
    {
        shard.release();
    }
}
