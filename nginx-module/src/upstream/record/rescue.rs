//! Rescue: a request that the slot on trial has failed goes to the fallback.

use cutover_core::route::SlotId;
use cutover_core::shard::Outcome;
use cutover_core::trial::{Terms, TrialWords};
use ngx::core::Status;
use ngx::ffi::{ngx_int_t, ngx_peer_connection_t};
use std::ptr::NonNull;

use super::{Record, Rescue};
use crate::layout::bits;

impl Record {
    /// If rescue is armed for the slot, nginx shall know of one try more: it does not even look at a bad status otherwise
    /// (ngx_http_upstream_test_next).
    pub(super) fn prepare_rescue(&self) {
        let Some(words) = self.group().trial_words() else { return };
        let own = self.slot().and_then(|slot| slot.id.get());
        let rescue = match words.rescue(self.generation) {
            Some(rescue) if Some(rescue.from) == own && self.falls_back_to(rescue.to) => Rescue::Possible,
            None if words.is_unfinished(self.generation) => Rescue::Unclear,
            // The request began when the rescue was armed, and this is a later part of it.
            None if self.parts.get().is_inherited() && self.was_armed(words) => Rescue::Possible,
            _ => return,
        };
        self.rescue.set(rescue);
        // SAFETY: the upstream that the record was made for; it lives as long as the request.
        unsafe { (*self.upstream).peer.tries += 1 };
    }

    /// Whether the trial that the slot was chosen under had a rescue, and is not held.
    #[cold]
    fn was_armed(&self, words: &TrialWords) -> bool {
        let own = self.slot().and_then(|slot| slot.id.get());
        words
            .ended_rescue(self.generation)
            .is_some_and(|rescue| Some(rescue.from) == own && self.falls_back_to(rescue.to))
    }

    /// Keeps the fallback: another trial may have begun when the slot fails. `false`: this worker's configuration does not have it.
    fn falls_back_to(&self, fallback: SlotId) -> bool {
        let position = self.group().position_of(fallback);
        if let Some(position) = position {
            self.fallback.set(position as u8);
        }
        position.is_some()
    }

    /// An attempt has failed: whether the request may be rescued must be known now. If not, nginx has one try less.
    #[cold]
    pub(in crate::upstream) fn settle_rescue(&self, peer: &mut ngx_peer_connection_t) {
        if self.rescue.get() != Rescue::Unclear {
            return;
        }
        let terms = self.group().trial_words().and_then(|words| words.terms_of(self.generation));
        let own = self.slot().and_then(|slot| slot.id.get());
        let rescued =
            |terms: Terms| terms.rescue && Some(terms.slot) == own && self.falls_back_to(terms.fallback);
        if terms.is_some_and(rescued) {
            self.rescue.set(Rescue::Possible);
        } else {
            self.rescue.set(Rescue::No);
            peer.tries = peer.tries.saturating_sub(1);
        }
    }

    /// Whether the request may go to the fallback, and `proxy_next_upstream_tries` leaves an attempt for it.
    pub(in crate::upstream) fn may_be_rescued(&self) -> bool {
        self.rescue.get() == Rescue::Possible && self.tries_left() > 0
    }

    /// Attempts that `proxy_next_upstream_tries` still allows.
    #[cold]
    pub(in crate::upstream) fn tries_left(&self) -> usize {
        // SAFETY: the upstream that the record was made for; it lives as long as the request.
        let conf = unsafe { (*self.upstream).conf };
        // SAFETY: set by nginx's proxy modules; it lives as long as the configuration.
        match unsafe { (*conf).next_upstream_tries } {
            0 => usize::MAX,
            limit => limit.saturating_sub(usize::from(self.attempts.get())),
        }
    }

    /// The next attempt goes to the fallback; `blame`: because the slot has failed.
    pub(in crate::upstream) fn rescue_when_asked(&self, blame: bool) {
        self.rescue.set(if blame { Rescue::Due } else { Rescue::DueWithoutBlame });
    }

    #[inline]
    pub(in crate::upstream) fn rescue_is_due(&self) -> bool {
        matches!(self.rescue.get(), Rescue::Due | Rescue::DueWithoutBlame)
    }

    /// The slot on trial has failed: the request goes to its fallback. An error is what `peer.get` answers then.
    #[cold]
    pub(in crate::upstream) fn go_to_fallback(&self) -> Result<(), ngx_int_t> {
        let blame = self.rescue.replace(Rescue::No) != Rescue::DueWithoutBlame;
        let fallback = self.fallback.get();
        self.takes_others_along(fallback);
        self.leave_slot(Outcome::Rescued { blame });
        self.slot.set(fallback);
        self.shard.set(self.group().shard(usize::from(fallback)).map(NonNull::from));
        if let Some(shard) = self.shard() {
            shard.hold();
            shard.started();
        }
        match self.enter_slot() {
            rc if rc == Status::NGX_OK.0 => {
                // SAFETY: the upstream that the record was made for; the balancer has changed it meanwhile.
                let u = unsafe { &mut *self.upstream };
                // As nginx does after a first peer.init (ngx_http_upstream_init_request).
                u.peer.tries = u.peer.tries.min(self.tries_left());
                // The key of the cache was made when the request was the other slot's.
                bits::ngx_http_upstream_t::CACHEABLE.set(u, false);
                Ok(())
            }
            _ => {
                // nginx ends the request, and finds the record by these.
                // SAFETY: as above.
                let peer = unsafe { &mut (*self.upstream).peer };
                self.stand_in(peer);
                Err(Status::NGX_ERROR.0)
            }
        }
    }
}
