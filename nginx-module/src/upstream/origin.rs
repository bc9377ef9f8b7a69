//! The parts of a request: where a subrequest, or what follows an internal redirect, finds the choice that was made for all.
//!
//! The upstream request of the first part that met the group is the *origin*: it knows the slot for those that follow. Most
//! requests have one part, so the origin is found without a mark of its own: by the upstream of the main request, else by an
//! entry of the pool. An upstream request of a subrequest has such an entry, and one that ends with a redirect.
//!
//! As soon as there is a second part, the origin holds its slot until the whole request ends: between two slices of a slow
//! download nothing else would, and the slot might be stopped.

use std::ptr;

use ngx::ffi::ngx_http_request_t;

use super::choice::{By, Choice, Filter, is_main};
use super::request::{Progress, UpstreamRequest};
use crate::group::Group;

impl UpstreamRequest {
    /// What was chosen for an earlier part of the request.
    #[inline]
    pub(super) fn earlier(r: &ngx_http_request_t, group: &Group, filter: Filter) -> Option<Choice> {
        // SAFETY: a request's pool lives as long as the request.
        if is_main(r) && unsafe { (*r.pool).cleanup }.is_null() {
            return None;
        }
        let origin = Self::origin(r, group, filter)?;
        Some(origin.choice(origin.parts.get().slot()))
    }

    /// The first part. What the main request does now comes first: it may have been redirected to a location that fixes another
    /// slot.
    #[cold]
    fn origin<'a>(r: &ngx_http_request_t, group: &Group, filter: impl Fn(By) -> bool) -> Option<&'a Self> {
        let fits = |known: &&Self| {
            known.parts.get().is_origin() && ptr::eq(known.group.as_ptr(), group) && filter(known.by)
        };
        // SAFETY: each request has a main request, itself or the one that it was made for.
        let main = unsafe { &*r.main };
        Self::current(main).filter(fits).or_else(|| Self::all_remembered(r).find(fits))
    }

    /// The part that this one has inherited from.
    fn own_origin<'a>(&self) -> Option<&'a Self> {
        // SAFETY: the request that this was made for, in whose pool it lives.
        let r = unsafe { &*self.request };
        Self::origin(r, self.group(), |by| by == self.by)
    }

    /// Joins the other parts of the request: for a part that follows an earlier one, or is the first of a subrequest. `None` if the
    /// pool is exhausted.
    #[cold]
    pub(super) fn join(&self) -> Option<()> {
        let parts = self.parts.get();
        if !parts.is_inherited() {
            if self.by.is_route() {
                self.parts.set(parts.as_origin());
                self.remember()?;
                self.keep();
            }
        } else if let Some(origin) = self.own_origin() {
            if parts.is_origin() {
                if origin.parts.get().is_kept() {
                    self.keep();
                }
                origin.stop_keeping();
                origin.parts.set(origin.parts.get().not_origin());
            } else {
                origin.keep();
            }
        }
        Some(())
    }

    /// The request was rescued: its later parts go to the fallback, too.
    #[cold]
    pub(super) fn move_later_parts(&self, fallback: u8) {
        let Some(origin) = self.own_origin().filter(|origin| origin.generation == self.generation) else {
            return;
        };
        let parts = origin.parts.get();
        let held = parts.is_kept() && origin.progress.get() == Progress::Finished;
        if held && let Some(shard) = origin.group().shard(usize::from(fallback)) {
            shard.hold();
        }
        if held {
            origin.release_for_others();
        }
        origin.parts.set(parts.with_slot(fallback));
    }
}
