//! Holding a slot for a request longer than by its upstream request, and the clean-up entry of the pool that releases it.

use std::ffi::c_void;

use cutover_core::shard::Shard;
use ngx::ffi::{NGX_HTTP_PARTIAL_CONTENT, ngx_http_request_t};

use super::{Progress, UpstreamRequest};
use crate::layout::bits;
use crate::pool;

impl UpstreamRequest {
    /// All that have a clean-up entry in the pool that a request shares with its subrequests, latest first.
    pub(in crate::upstream) fn all_remembered<'a>(r: &ngx_http_request_t) -> impl Iterator<Item = &'a Self> {
        // SAFETY: only `remember` uses this handler, with such data.
        unsafe { pool::entries(r.pool, CLEANUP) }
    }

    /// The latest one of this request (not of its subrequests) that has a clean-up entry.
    #[cold]
    pub(in crate::upstream) fn remembered<'a>(r: &ngx_http_request_t) -> Option<&'a Self> {
        Self::all_remembered(r).find(|known| std::ptr::eq(known.request, r) && !known.upstream.is_null())
    }

    /// Adds a clean-up entry, unless there is one; `None` if the pool is exhausted.
    #[cold]
    pub(in crate::upstream) fn remember(&self) -> Option<()> {
        if self.parts.get().is_remembered() {
            return Some(());
        }
        pool::add_entry_of(self.pool(), self, CLEANUP)?;
        self.parts.set(self.parts.get().remembered());
        Some(())
    }

    /// Releases the slot of a request that never got there.
    #[cold]
    pub(in crate::upstream) fn release_unused(&self) {
        if self.progress.get() == Progress::Chosen {
            self.progress.set(Progress::Finished);
            self.parts.set(self.parts.get().not_kept());
            if let Some(shard) = self.shard() {
                shard.release();
            }
        }
    }

    /// From now on the slot is held until the whole request ends.
    #[cold]
    pub(in crate::upstream) fn keep(&self) {
        // If the pool is exhausted, it is held no longer than by the part itself.
        if self.parts.get().is_kept() || self.remember().is_none() {
            return;
        }
        self.parts.set(self.parts.get().kept());
        if self.progress.get() == Progress::Finished {
            self.hold_for_others();
        }
    }

    /// The part ends that is the origin, and others may follow: after a first slice, or when there were some. It has not left its
    /// slot yet, so there is no moment at which nothing holds it.
    #[inline]
    pub(in crate::upstream) fn ends_before_others(&self, status: usize) {
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
        // SAFETY: the request that this was made for, in whose pool it lives.
        let request = unsafe { &*self.request };
        bits::ngx_http_request_t::SUBREQUEST_RANGES.is_set(request)
    }

    /// The same where others are likely to follow.
    #[cold]
    pub(in crate::upstream) fn part_ends(&self) {
        let parts = self.parts.get();
        if parts.is_kept() {
            self.hold_for_others();
        } else if parts.is_origin() {
            self.keep();
        }
    }

    fn hold_for_others(&self) {
        if let Some(shard) = self.shard_for_others() {
            shard.hold();
        }
    }

    pub(in crate::upstream) fn release_for_others(&self) {
        if let Some(shard) = self.shard_for_others() {
            shard.release();
        }
    }

    /// Where the slot of the parts that follow is held.
    fn shard_for_others(&self) -> Option<&Shard> {
        self.choice(self.parts.get().slot()).shard(self.group())
    }

    /// The whole request has ended, or another part is the origin.
    pub(in crate::upstream) fn stop_keeping(&self) {
        let parts = self.parts.get();
        if parts.is_kept() && self.progress.get() == Progress::Finished {
            self.release_for_others();
        }
        self.parts.set(parts.not_kept());
    }
}

/// The mark by which they are known among the entries of a pool. A static, because a function named twice may have two addresses.
static CLEANUP: pool::Handler = cleanup;

/// The pool is destroyed. A request whose slot was chosen early and that never got there must not stay in flight, nor one that
/// held its slot between its parts. (nginx reports the end of one that got there: ngx_http_upstream_cleanup.)
unsafe extern "C" fn cleanup(data: *mut c_void) {
    // SAFETY: what `remember` put there, in the pool that is being destroyed.
    let request: &UpstreamRequest = unsafe { &*data.cast() };
    request.release_unused();
    request.stop_keeping();
}
