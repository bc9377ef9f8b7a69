//! What the module remembers of one upstream request, from the choice of its slot to its end.
//!
//! It lives in the request's pool, and the upstream's peer leads to it. Some need more, a clean-up entry of the pool: one whose
//! slot was chosen before nginx connects, because nothing else would let go of the slot; one that ends with an internal
//! redirect, because that gives the request another upstream; and those of `parts`.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};

use cutover_core::shard::Shard;
use ngx::core::Status;
use ngx::ffi::{
    ngx_event_get_peer_pt, ngx_http_request_t, ngx_http_upstream_t, ngx_int_t, ngx_palloc,
    ngx_peer_connection_t, ngx_pool_cleanup_add, ngx_pool_cleanup_t, ngx_pool_t,
};

use super::{Callbacks, choice, peer};
use crate::group::{By, Choice, Group, Slot};

mod attempt;
mod ending;
mod parts;
mod rescue;

use parts::Parts;

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
    /// The next attempt goes to the fallback: the slot has failed.
    Due,
    /// The same, but nginx does not hold it against the slot.
    DueWithoutBlame,
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
    by: By,
    parts: Cell<Parts>,
    rescue: Cell<Rescue>,
    /// Position of the slot that a rescued request goes to.
    fallback: Cell<u8>,
    /// Attempts so far, of all slots.
    attempts: Cell<u8>,
}

// A request's pool is 4 KB, and nginx itself fills most of it: what is small here saves a second block.
const _: () = assert!(size_of::<Record>() <= 72);

/// The record that enters its slot; nginx does all its work on one thread.
static ENTERING: AtomicPtr<Record> = AtomicPtr::new(ptr::null_mut());

/// The mark by which our records are known in a peer. A static, because a function named twice may have two addresses.
static GET: ngx_event_get_peer_pt = Some(peer::get);

impl Record {
    /// Makes a record for the upstream that the request has now; `None` if the pool is exhausted.
    // Always: the usual request pays for no call. Others go by `new_early`.
    #[inline(always)]
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
        let main = choice::is_main(r);
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
            by: choice.by,
            parts: Cell::new(Parts::of(choice, main)),
            rescue: Cell::new(Rescue::No),
            fallback: Cell::new(0),
            attempts: Cell::new(0),
        };
        // SAFETY: room for a record; nginx aligns what it gives for any type.
        unsafe { place.write(record) };
        if let Some(shard) = shard {
            shard.hold();
        }
        // SAFETY: just written; it lives as long as the request's pool.
        let record = unsafe { place.as_ref() }?;
        if (choice.inherited || !main) && record.join().is_none() {
            record.let_go();
            return None;
        }
        Some(record)
    }

    /// The same for a request that is not given to its slot yet, and perhaps never will be: the pool lets go of the slot.
    #[cold]
    fn new_early<'a>(
        r: &mut ngx_http_request_t,
        u: *mut ngx_http_upstream_t,
        group: &Group,
        choice: Choice,
    ) -> Option<&'a Self> {
        let record = Self::new(r, u, group, choice)?;
        if record.remember().is_none() {
            record.let_go();
            return None;
        }
        Some(record)
    }

    /// The slot for a request, chosen before nginx connects: the peer leads to the record already.
    pub(crate) fn choose_early<'a>(r: &mut ngx_http_request_t, group: &Group) -> Option<&'a Self> {
        let u = r.upstream;
        let choice = Self::choice(r, group);
        let record = Self::new_early(r, u, group, choice)?;
        // SAFETY: null, or the upstream that the request has now, not in use yet.
        if let Some(u) = unsafe { u.as_mut() } {
            record.stand_in(&mut u.peer);
        }
        Some(record)
    }

    /// The peer leads to the record, as long as no balancer has it.
    fn stand_in(&self, peer: &mut ngx_peer_connection_t) {
        peer.get = GET;
        peer.data = ptr::from_ref(self).cast_mut().cast();
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

    /// The record of the upstream that the request has now.
    pub(crate) fn current<'a>(r: &ngx_http_request_t) -> Option<&'a Self> {
        // SAFETY: null, or the upstream of the request.
        unsafe { r.upstream.as_ref() }.and_then(Self::of_upstream).or_else(|| Self::entering(r))
    }

    /// The record whose slot's balancer is being asked to begin: it may evaluate our variables (`hash $cutover_slot`), when
    /// the peer is its own already and not ours yet.
    fn entering<'a>(r: &ngx_http_request_t) -> Option<&'a Self> {
        // SAFETY: null, or a record that is entering its slot just now.
        let record = unsafe { ENTERING.load(Ordering::Relaxed).as_ref() }?;
        (ptr::eq(record.request, r) && ptr::eq(record.upstream, r.upstream)).then_some(record)
    }

    /// The latest record of this request (not of its subrequests).
    pub(crate) fn latest<'a>(r: &ngx_http_request_t) -> Option<&'a Self> {
        Self::current(r).or_else(|| Self::remembered(r))
    }

    /// The latest record of this request that has a clean-up entry. A pool is shared by a request and its subrequests.
    #[cold]
    fn remembered<'a>(r: &ngx_http_request_t) -> Option<&'a Self> {
        Self::all_remembered(r).find(|record| ptr::eq(record.request, r) && !record.upstream.is_null())
    }

    /// All records with a clean-up entry in the pool that a request shares with its subrequests, latest first.
    fn all_remembered<'a>(r: &ngx_http_request_t) -> impl Iterator<Item = &'a Self> {
        // SAFETY: a request's pool lives as long as the request.
        let mut next: *mut ngx_pool_cleanup_t = unsafe { (*r.pool).cleanup };
        std::iter::from_fn(move || {
            loop {
                // SAFETY: nginx links the entries of the pool, latest first, and ends them with null.
                let entry = unsafe { next.as_ref() }?;
                next = entry.next;
                if is_ours(entry) {
                    // SAFETY: only `remember` uses this handler, with a record as the data.
                    return unsafe { entry.data.cast::<Self>().as_ref() };
                }
            }
        })
    }

    /// Adds a clean-up entry, unless there is one; `None` if the pool is exhausted.
    #[cold]
    fn remember(&self) -> Option<()> {
        if self.parts.get().is_remembered() {
            return Some(());
        }
        // SAFETY: the pool is the request's.
        let entry = unsafe { ngx_pool_cleanup_add(self.pool(), 0) };
        // SAFETY: an entry of the pool, or null.
        let entry = unsafe { entry.as_mut() }?;
        entry.data = ptr::from_ref(self).cast_mut().cast();
        entry.handler = Some(CLEANUP);
        self.parts.set(self.parts.get().remembered());
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

    pub(super) fn keep_callbacks(&self, callbacks: &Callbacks) {
        self.callbacks.set(Some(callbacks.into()));
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
        if rc != Status::NGX_OK.0 {
            self.turned_away();
            return rc;
        }
        self.stage.set(Stage::Started);
        if self.by.is_on_trial() {
            self.prepare_rescue();
        }
        if let Some(shard) = self.shard() {
            shard.started();
        }
        rc
    }

    /// The slot's balancer does not take the request. An error page may be the next part; nginx will not tell of the end of this
    /// one.
    #[cold]
    fn turned_away(&self) {
        self.stage.set(Stage::Finished);
        let _ = self.remember();
        self.part_ends();
        if let Some(shard) = self.shard() {
            shard.release();
        }
    }

    /// A request that never got to its slot holds it no more.
    #[cold]
    fn let_go(&self) {
        if self.stage.get() == Stage::Chosen {
            self.stage.set(Stage::Finished);
            self.parts.set(self.parts.get().not_kept());
            if let Some(shard) = self.shard() {
                shard.release();
            }
        }
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
        let outer = ENTERING.load(Ordering::Relaxed);
        ENTERING.store(ptr::from_ref(self).cast_mut(), Ordering::Relaxed);
        // SAFETY: nginx itself would call it with this request and this upstream.
        let rc = unsafe { init(self.request, target.as_ptr()) };
        ENTERING.store(outer, Ordering::Relaxed);
        if rc != Status::NGX_OK.0 {
            return rc;
        }
        // SAFETY: as above; the balancer has changed it meanwhile, so it is borrowed anew.
        let u = unsafe { &mut *self.upstream };
        let data = u.peer.data;
        let Some(callbacks) = Callbacks::replace(u, self, slot) else { return Status::NGX_ERROR.into() };
        self.balancer_data.set(data);
        self.keep_callbacks(callbacks);
        rc
    }
}

/// The mark by which records are known among the entries of a pool; a static for the same reason as [`GET`].
static CLEANUP: unsafe extern "C" fn(*mut c_void) = cleanup;

fn is_ours(entry: &ngx_pool_cleanup_t) -> bool {
    entry.handler.is_some_and(|handler| ptr::fn_addr_eq(handler, CLEANUP))
}

/// The pool goes away. A request whose slot was chosen early and that never got there must not stay in flight, nor one that held
/// its slot between its parts. (Of one that got there nginx has told us the end: ngx_http_upstream_cleanup.)
unsafe extern "C" fn cleanup(data: *mut c_void) {
    // SAFETY: the record that `remember` put there, in the pool that is being destroyed.
    let record: &Record = unsafe { &*data.cast() };
    record.let_go();
    record.keep_no_more();
}
