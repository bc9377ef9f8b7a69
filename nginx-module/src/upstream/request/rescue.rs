//! Whether a request that the slot on trial has failed may go to the fallback.

use cutover_core::slot::SlotId;
use cutover_core::trial::{Terms, TrialWords};
use ngx::ffi::ngx_peer_connection_t;

use super::{RescueState, UpstreamRequest};

impl UpstreamRequest {
    /// If rescue is armed for the slot, gives nginx one more try: without one it does not even look at a bad status
    /// (ngx_http_upstream_test_next).
    pub(in crate::upstream) fn prepare_rescue(&self) {
        let Some(words) = self.group().trial_words() else { return };
        let own = self.slot().and_then(|slot| slot.id.get());
        let rescue = match words.rescue(self.generation) {
            Some(rescue) if Some(rescue.from) == own && self.falls_back_to(rescue.to) => {
                RescueState::Possible
            }
            None if words.is_unfinished(self.generation) => RescueState::Unclear,
            // The request began when the rescue was armed, and this is a later part of it.
            None if self.parts.get().is_inherited() && self.was_armed(words) => RescueState::Possible,
            _ => return,
        };
        self.rescue.set(rescue);
        // SAFETY: the upstream that this was made for; it lives as long as the request.
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

    /// An attempt has failed: decides whether the request may be rescued, if that was still open. If not, takes the added try back.
    #[cold]
    pub(in crate::upstream) fn settle_rescue(&self, peer: &mut ngx_peer_connection_t) {
        if self.rescue.get() != RescueState::Unclear {
            return;
        }
        let terms = self.group().trial_words().and_then(|words| words.terms_of(self.generation));
        let own = self.slot().and_then(|slot| slot.id.get());
        let rescued =
            |terms: Terms| terms.rescue && Some(terms.slot) == own && self.falls_back_to(terms.fallback);
        if terms.is_some_and(rescued) {
            self.rescue.set(RescueState::Possible);
        } else {
            self.rescue.set(RescueState::No);
            peer.tries = peer.tries.saturating_sub(1);
        }
    }

    /// Whether the request may go to the fallback, and `proxy_next_upstream_tries` leaves an attempt for it.
    pub(in crate::upstream) fn may_be_rescued(&self) -> bool {
        self.rescue.get() == RescueState::Possible && self.tries_left() > 0
    }

    /// Attempts that `proxy_next_upstream_tries` still allows.
    #[cold]
    pub(in crate::upstream) fn tries_left(&self) -> usize {
        // SAFETY: the upstream that this was made for; it lives as long as the request.
        let conf = unsafe { (*self.upstream).conf };
        // SAFETY: set by nginx's proxy modules; it lives as long as the configuration.
        match unsafe { (*conf).next_upstream_tries } {
            0 => usize::MAX,
            limit => limit.saturating_sub(usize::from(self.attempts.get())),
        }
    }

    /// Makes the next attempt go to the fallback; `blame`: because the slot has failed.
    pub(in crate::upstream) fn rescue_when_asked(&self, blame: bool) {
        self.rescue.set(if blame { RescueState::Due } else { RescueState::DueWithoutBlame });
    }

    #[inline]
    pub(in crate::upstream) fn rescue_is_due(&self) -> bool {
        matches!(self.rescue.get(), RescueState::Due | RescueState::DueWithoutBlame)
    }
}
