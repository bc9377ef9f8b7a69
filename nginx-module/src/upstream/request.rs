//! What the module remembers of one upstream request, from the choice of its slot to its end.
//!
//! It lives in the request's pool, and the upstream's peer leads to it. Some need more, a clean-up entry of the pool
//! ([`holding`]): one whose slot was chosen before nginx connects, because nothing else would release the slot; one that ends with
//! an internal redirect, because that gives the request another upstream; and those of several [`parts`].

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::NonNull;

use cutover_core::shard::Shard;
use ngx::ffi::{ngx_http_request_t, ngx_http_upstream_t, ngx_pool_t};

use super::choice::{By, Choice};
use crate::callbacks::Callbacks;
use crate::group::{Group, Slot};
use crate::pool;

mod attempt;
mod ending;
mod holding;
mod parts;
mod rescue;

pub(super) use parts::Parts;

/// How far an upstream request has come.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The slot is chosen, and held: nothing is sent yet.
    Chosen,
    /// Given to the slot's upstream.
    Started,
    /// Counted as answered.
    Finished,
}

/// How far the present attempt has come.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
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
pub(super) enum RescueState {
    /// Not armed, or done.
    No,
    /// The trial was just being armed when the request began: decided when an attempt fails.
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
pub(crate) struct UpstreamRequest {
    pub(super) request: *mut ngx_http_request_t,
    pub(super) upstream: *mut ngx_http_upstream_t,
    pub(super) group: NonNull<Group>,
    /// Where this process counts for the slot.
    pub(super) shard: Cell<Option<NonNull<Shard>>>,
    pub(super) callbacks: Cell<Option<NonNull<Callbacks>>>,
    /// What the balancer had put into `peer.data`.
    pub(super) balancer_data: Cell<*mut c_void>,
    /// When the attempt began, in microseconds of the monotonic clock.
    pub(super) began_us: Cell<u64>,
    pub(super) generation: u32,
    /// What the first byte of the answer took.
    pub(super) first_byte_us: Cell<u32>,
    /// Position in the group's slots.
    pub(super) slot: Cell<u8>,
    pub(super) progress: Cell<Progress>,
    pub(super) attempt: Cell<Attempt>,
    pub(super) by: By,
    pub(super) parts: Cell<Parts>,
    pub(super) rescue: Cell<RescueState>,
    /// Position of the slot that a rescued request goes to.
    pub(super) fallback: Cell<u8>,
    /// Attempts so far, of all slots.
    pub(super) attempts: Cell<u8>,
}

// A request's pool is 4 KB, and nginx itself fills most of it: what is small here saves a second block.
const _: () = assert!(size_of::<UpstreamRequest>() <= 72);

impl UpstreamRequest {
    /// The pool that it is in.
    pub(super) fn pool(&self) -> *mut ngx_pool_t {
        // SAFETY: the request that this was made for, in whose pool it lives.
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
    pub(super) fn slot(&self) -> Option<&Slot> {
        self.group().slots.get(usize::from(self.slot.get()))
    }

    pub(crate) fn slot_name(&self) -> &str {
        self.slot().map_or("", |slot| slot.name.as_str())
    }

    #[inline]
    pub(super) fn callbacks(&self) -> Option<&Callbacks> {
        // SAFETY: in the slot, or in the request's pool: both outlive this.
        self.callbacks.get().map(|callbacks| unsafe { callbacks.as_ref() })
    }

    pub(super) fn set_callbacks(&self, callbacks: &Callbacks) {
        self.callbacks.set(Some(callbacks.into()));
    }

    /// Copies callbacks into the request's pool. `None`: the pool is exhausted.
    pub(super) fn keep_in_pool<'a>(&self, callbacks: Callbacks) -> Option<&'a Callbacks> {
        pool::place(self.pool(), callbacks).map(|kept| &*kept)
    }

    #[inline]
    pub(super) fn balancer_data(&self) -> *mut c_void {
        self.balancer_data.get()
    }

    #[inline]
    pub(super) fn shard(&self) -> Option<&Shard> {
        // SAFETY: a page of the counters, which live as long as the cycle.
        self.shard.get().map(|shard| unsafe { shard.as_ref() })
    }

    /// What was chosen, for another part of the request.
    pub(super) fn choice(&self, slot: u8) -> Choice {
        let slot = usize::from(slot);
        Choice { slot, generation: self.generation, by: self.by, inherited: true }
    }
}
