//! Gives a request to a slot's upstream: calls the upstream's own `peer.init`, and puts our callbacks in front.

use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering;

use cutover_core::shard::RequestEnd;
use ngx::core::Status;
use ngx::ffi::ngx_int_t;

use super::request::{Progress, RescueState, UpstreamRequest};
use super::search::ENTERING;
use super::wrap;
use crate::callbacks::Callbacks;
use crate::layout::bits;

impl UpstreamRequest {
    /// Hands the request to the slot's upstream and puts our callbacks in front of its own.
    #[inline]
    pub(super) fn start(&self) -> ngx_int_t {
        let rc = self.enter_slot();
        if rc != Status::NGX_OK.0 {
            self.refused();
            return rc;
        }
        self.progress.set(Progress::Started);
        if self.by.is_on_trial() {
            self.prepare_rescue();
        }
        if let Some(shard) = self.shard() {
            shard.started();
        }
        rc
    }

    /// The slot's balancer refuses the request. An error page may be the next part; nginx does not call `finalize_request` for
    /// this one.
    #[cold]
    fn refused(&self) {
        self.progress.set(Progress::Finished);
        let _ = self.remember();
        self.part_ends();
        if let Some(shard) = self.shard() {
            shard.release();
        }
    }

    #[inline(always)]
    fn enter_slot(&self) -> ngx_int_t {
        let Some((slot, target)) = self.slot().and_then(|slot| Some((slot, slot.upstream.get()?))) else {
            return Status::NGX_ERROR.into();
        };
        // SAFETY: the upstream that this was made for; it lives as long as the request.
        let u = unsafe { &mut *self.upstream };
        // A balancer takes the data that it finds in peer.data for its own.
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
        let Some(callbacks) = wrap::replace(u, self, slot) else { return Status::NGX_ERROR.into() };
        self.balancer_data.set(data);
        self.set_callbacks(callbacks);
        rc
    }

    /// The slot on trial has failed: gives the request to its fallback. An error is the answer of `peer.get`.
    #[cold]
    pub(super) fn go_to_fallback(&self) -> Result<(), ngx_int_t> {
        let blame = self.rescue.replace(RescueState::No) != RescueState::DueWithoutBlame;
        let fallback = self.fallback.get();
        self.move_later_parts(fallback);
        self.leave_slot(RequestEnd::Rescued { blame });
        self.slot.set(fallback);
        self.shard.set(self.group().shard(usize::from(fallback)).map(NonNull::from));
        if let Some(shard) = self.shard() {
            shard.hold();
            shard.started();
        }
        match self.enter_slot() {
            rc if rc == Status::NGX_OK.0 => {
                // SAFETY: the upstream that this was made for; the balancer has changed it meanwhile.
                let u = unsafe { &mut *self.upstream };
                // As nginx does after a first peer.init (ngx_http_upstream_init_request).
                u.peer.tries = u.peer.tries.min(self.tries_left());
                // The key of the cache was made when the request was the other slot's.
                bits::ngx_http_upstream_t::CACHEABLE.set(u, false);
                Ok(())
            }
            _ => {
                // nginx ends the request, and its callbacks find this by the peer.
                // SAFETY: as above.
                let peer = unsafe { &mut (*self.upstream).peer };
                self.claim_peer(peer);
                Err(Status::NGX_ERROR.0)
            }
        }
    }
}
