//! The parts of a request: where a subrequest, or what follows an internal redirect, finds the choice that was made for all.
//!
//! The record of the first part that met the group is the *origin*: it knows the slot for those that follow. Most requests have
//! one part, so the origin is found without a mark of its own: by the upstream of the main request, or else by an entry of the
//! pool, which a subrequest's record has, and one that ends with a redirect.
//!
//! As soon as there is a second part, the origin holds its slot until the whole request ends: between two slices of a slow
//! download nothing else would, and the slot might be stopped.

use std::ptr;

use ngx::ffi::{NGX_HTTP_PARTIAL_CONTENT, ngx_http_request_t};

use super::{Record, Stage};
use crate::group::{By, Choice, Group};
use crate::layout::bits;
use crate::upstream::choice::{Wanted, choose, is_fixed, is_main};

/// What a record is for the other parts of its request.
///
/// bit 6 inherited | 5 has a clean-up entry | 4 keeps its slot between parts | 3 origin | 2..0 slot for those that follow
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts(u8);

const SLOT: u8 = 0b111;
const ORIGIN: u8 = 1 << 3;
const KEPT: u8 = 1 << 4;
const REMEMBERED: u8 = 1 << 5;
const INHERITED: u8 = 1 << 6;

const _: () = assert!(crate::group::MAX_SLOTS <= SLOT as usize + 1);

impl Parts {
    /// Of a choice that was just made: for all, if it is the main request's own.
    #[inline]
    pub(super) fn of(choice: Choice, main: bool) -> Self {
        let inherited = if choice.inherited { INHERITED } else { 0 };
        let origin = if main { ORIGIN } else { 0 };
        Self(choice.slot as u8 & SLOT | inherited | origin)
    }

    fn slot(self) -> u8 {
        self.0 & SLOT
    }

    fn with_slot(self, slot: u8) -> Self {
        Self(self.0 & !SLOT | slot & SLOT)
    }

    #[inline]
    pub(super) fn is_origin(self) -> bool {
        self.0 & ORIGIN != 0
    }

    pub(super) fn is_inherited(self) -> bool {
        self.0 & INHERITED != 0
    }

    #[inline]
    fn is_kept(self) -> bool {
        self.0 & KEPT != 0
    }

    pub(super) fn is_remembered(self) -> bool {
        self.0 & REMEMBERED != 0
    }

    pub(super) fn remembered(self) -> Self {
        Self(self.0 | REMEMBERED)
    }

    pub(super) fn not_kept(self) -> Self {
        Self(self.0 & !KEPT)
    }
}

impl Record {
    /// What was chosen for an earlier part of the request.
    #[inline]
    pub(crate) fn earlier(r: &ngx_http_request_t, group: &Group, wanted: Wanted) -> Option<Choice> {
        // SAFETY: a request's pool lives as long as the request.
        if is_main(r) && unsafe { (*r.pool).cleanup }.is_null() {
            return None;
        }
        let origin = Self::origin(r, group, wanted)?;
        let slot = usize::from(origin.parts.get().slot());
        Some(Choice { slot, generation: origin.generation, by: origin.by, inherited: true })
    }

    /// The slot for a request.
    #[cold]
    pub(super) fn choice(r: &mut ngx_http_request_t, group: &Group) -> Choice {
        choose(r, group, Self::earlier)
    }

    /// The slot that the request has for the group, chosen now if it has none, for as long as the request takes: without an
    /// upstream. `None` if the pool is exhausted.
    pub(crate) fn slot_without_upstream(r: &mut ngx_http_request_t, group: &Group) -> Option<Choice> {
        let own = Self::current(r).filter(|own| ptr::eq(own.group.as_ptr(), group));
        // After a redirect the record is the old location's, and the new one may fix another slot.
        if let Some(own) = own.filter(|own| own.stage.get() != Stage::Finished || !is_fixed(r)) {
            let slot = usize::from(own.slot.get());
            return Some(Choice { slot, generation: own.generation, by: own.by, inherited: true });
        }
        let choice = Self::choice(r, group);
        if !choice.inherited && (is_main(r) || choice.by.is_route()) && !Self::was_named(r, group, choice) {
            let record = Self::new_early(r, ptr::null_mut(), group, choice)?;
            // It holds its slot, and was never given to it: like the origin of a request between two parts.
            record.stage.set(Stage::Finished);
            record.parts.set(Parts(record.parts.get().0 | KEPT));
        }
        Some(choice)
    }

    /// Whether the request has a record of such a choice that was made without an upstream.
    fn was_named(r: &ngx_http_request_t, group: &Group, choice: Choice) -> bool {
        Self::all_remembered(r).any(|known| {
            ptr::eq(known.request, r)
                && known.upstream.is_null()
                && ptr::eq(known.group.as_ptr(), group)
                && usize::from(known.slot.get()) == choice.slot
                && known.by == choice.by
        })
    }

    /// The record of the first part. What the main request does now comes first: it may have been redirected to a location that
    /// fixes another slot.
    #[cold]
    fn origin<'a>(r: &ngx_http_request_t, group: &Group, wanted: impl Fn(By) -> bool) -> Option<&'a Self> {
        let fits = |record: &&Self| {
            record.parts.get().is_origin() && ptr::eq(record.group.as_ptr(), group) && wanted(record.by)
        };
        // SAFETY: each request has a main request, itself or the one that it was made for.
        let main = unsafe { &*r.main };
        Self::current(main).filter(fits).or_else(|| Self::all_remembered(r).find(fits))
    }

    /// The record that this one has inherited from.
    fn own_origin<'a>(&self) -> Option<&'a Self> {
        // SAFETY: the request that the record was made for; its pool, where the record is, goes with it.
        let r = unsafe { &*self.request };
        Self::origin(r, self.group(), |by| by == self.by)
    }

    /// A record that follows an earlier part, or is the first of a subrequest, takes its place among the others; `None` if the
    /// pool is exhausted.
    #[cold]
    pub(super) fn join(&self) -> Option<()> {
        let parts = self.parts.get();
        if !parts.is_inherited() {
            if self.by.is_route() {
                self.parts.set(Parts(parts.0 | ORIGIN));
                self.remember()?;
                self.keep();
            }
        } else if let Some(origin) = self.own_origin() {
            if parts.is_origin() {
                if origin.parts.get().is_kept() {
                    self.keep();
                }
                origin.keep_no_more();
                origin.parts.set(Parts(origin.parts.get().0 & !ORIGIN));
            } else {
                origin.keep();
            }
        }
        Some(())
    }

    /// From now on the slot is held until the whole request ends.
    #[cold]
    pub(super) fn keep(&self) {
        // If the pool is exhausted, it is held no longer than by the part itself.
        if self.parts.get().is_kept() || self.remember().is_none() {
            return;
        }
        self.parts.set(Parts(self.parts.get().0 | KEPT));
        if self.stage.get() == Stage::Finished {
            self.hold_for_others();
        }
    }

    /// The part ends that is the origin, and others may follow: after a first slice, or when there were some. It has not left its
    /// slot yet, so there is no moment at which nothing holds it.
    #[inline]
    pub(super) fn ends_before_others(&self, status: usize) {
        if status == NGX_HTTP_PARTIAL_CONTENT as usize || self.parts.get().is_kept() {
            self.ends_perhaps_before_others();
        }
    }

    /// An answer of 206 may be the range that the client itself has asked for.
    #[cold]
    fn ends_perhaps_before_others(&self) {
        if self.parts.get().is_kept() || self.is_sliced() {
            self.part_ends();
        }
    }

    /// Whether nginx gets the answer slice by slice: then its filter has set a flag by the head of the first one
    /// (ngx_http_slice_header_filter).
    fn is_sliced(&self) -> bool {
        // SAFETY: the request that the record was made for; its pool, where the record is, goes with it.
        let request = unsafe { &*self.request };
        bits::ngx_http_request_t::SUBREQUEST_RANGES.is_set(request)
    }

    /// The same where others are likely to follow.
    #[cold]
    pub(super) fn part_ends(&self) {
        let parts = self.parts.get();
        if parts.is_kept() {
            self.hold_for_others();
        } else if parts.is_origin() {
            self.keep();
        }
    }

    fn hold_for_others(&self) {
        if let Some(shard) = self.group().shard(usize::from(self.parts.get().slot())) {
            shard.hold();
        }
    }

    fn release_for_others(&self) {
        if let Some(shard) = self.group().shard(usize::from(self.parts.get().slot())) {
            shard.release();
        }
    }

    /// The whole request has ended, or another record is the origin.
    pub(super) fn keep_no_more(&self) {
        let parts = self.parts.get();
        if parts.is_kept() && self.stage.get() == Stage::Finished {
            self.release_for_others();
        }
        self.parts.set(parts.not_kept());
    }

    /// The request was rescued: what follows of it goes to the fallback, too.
    #[cold]
    pub(super) fn takes_others_along(&self, fallback: u8) {
        let Some(origin) = self.own_origin().filter(|origin| origin.generation == self.generation) else {
            return;
        };
        let parts = origin.parts.get();
        let held = parts.is_kept() && origin.stage.get() == Stage::Finished;
        if held && let Some(shard) = origin.group().shard(usize::from(fallback)) {
            shard.hold();
        }
        if held {
            origin.release_for_others();
        }
        origin.parts.set(parts.with_slot(fallback));
    }
}
