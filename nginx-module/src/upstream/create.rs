//! How an upstream request begins: with the choice of its slot.

use std::cell::Cell;
use std::ptr::{self, NonNull};

use ngx::ffi::{ngx_http_request_t, ngx_http_upstream_t, ngx_palloc};

use super::choice::{Choice, choose, is_fixed, is_main};
use super::request::{Attempt, Parts, Progress, RescueState, UpstreamRequest};
use crate::group::Group;

impl UpstreamRequest {
    /// Makes one for the upstream that the request has now; `None` if the pool is exhausted.
    // Always: the usual request pays for no call. The others use `new_early`.
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
        let main = is_main(r);
        let shard = choice.shard(group);
        let own = Self {
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
            progress: Cell::new(Progress::Chosen),
            attempt: Cell::new(Attempt::None),
            by: choice.by,
            parts: Cell::new(Parts::of(choice, main)),
            rescue: Cell::new(RescueState::No),
            fallback: Cell::new(0),
            attempts: Cell::new(0),
        };
        // SAFETY: room for it; nginx aligns what it gives for any type.
        unsafe { place.write(own) };
        if let Some(shard) = shard {
            shard.hold();
        }
        // SAFETY: just written; it lives as long as the request's pool.
        let own = unsafe { place.as_ref() }?;
        if (choice.inherited || !main) && own.join().is_none() {
            own.release_unused();
            return None;
        }
        Some(own)
    }

    /// The same for a request that is not given to its slot yet, and perhaps never will be: the end of the pool releases the slot.
    #[cold]
    fn new_early<'a>(
        r: &mut ngx_http_request_t,
        u: *mut ngx_http_upstream_t,
        group: &Group,
        choice: Choice,
    ) -> Option<&'a Self> {
        let own = Self::new(r, u, group, choice)?;
        if own.remember().is_none() {
            own.release_unused();
            return None;
        }
        Some(own)
    }

    /// The slot for a request, chosen before nginx connects: the peer leads to it already.
    pub(crate) fn choose_early<'a>(r: &mut ngx_http_request_t, group: &Group) -> Option<&'a Self> {
        let u = r.upstream;
        let choice = Self::choose(r, group);
        let own = Self::new_early(r, u, group, choice)?;
        // SAFETY: null, or the upstream that the request has now, not in use yet.
        if let Some(u) = unsafe { u.as_mut() } {
            own.claim_peer(&mut u.peer);
        }
        Some(own)
    }

    /// The slot for a request.
    #[cold]
    fn choose(r: &mut ngx_http_request_t, group: &Group) -> Choice {
        choose(r, group, Self::earlier)
    }

    /// The slot that the request has for the group, chosen now if it has none, for as long as the request takes: without an
    /// upstream. `None` if the pool is exhausted.
    pub(crate) fn slot_without_upstream(r: &mut ngx_http_request_t, group: &Group) -> Option<Choice> {
        let own = Self::current(r).filter(|own| ptr::eq(own.group.as_ptr(), group));
        // After a redirect it belongs to the old location, and the new one may fix another slot.
        if let Some(own) = own.filter(|own| own.progress.get() != Progress::Finished || !is_fixed(r)) {
            return Some(own.choice(own.slot.get()));
        }
        let choice = Self::choose(r, group);
        if !choice.inherited && (is_main(r) || choice.by.is_route()) && !Self::was_named(r, group, choice) {
            let own = Self::new_early(r, ptr::null_mut(), group, choice)?;
            // It holds its slot, and was never given to it: like the origin of a request between two parts.
            own.progress.set(Progress::Finished);
            own.parts.set(own.parts.get().kept());
        }
        Some(choice)
    }

    /// Whether such a choice was made for the request without an upstream.
    fn was_named(r: &ngx_http_request_t, group: &Group, choice: Choice) -> bool {
        Self::all_remembered(r).any(|known| {
            ptr::eq(known.request, r)
                && known.upstream.is_null()
                && ptr::eq(known.group.as_ptr(), group)
                && usize::from(known.slot.get()) == choice.slot
                && known.by == choice.by
        })
    }
}
