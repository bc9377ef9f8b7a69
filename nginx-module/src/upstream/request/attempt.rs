//! The attempts of a request: one try of one peer after the other.

use cutover_core::shard::AttemptFailure;
use ngx::ffi::ngx_http_upstream_state_t;

use super::{Attempt, UpstreamRequest};
use crate::clock;

impl UpstreamRequest {
    /// A peer is about to be tried.
    #[inline]
    pub(in crate::upstream) fn attempt_begins(&self) {
        self.began_us.set(clock::micros());
        self.attempt.set(Attempt::Waiting);
        self.first_byte_us.set(0);
        self.attempts.set(self.attempts.get().saturating_add(1));
        if let Some(shard) = self.shard() {
            shard.attempt();
        }
    }

    /// When bytes came, in microseconds of the monotonic clock, if they may be the first of an answer.
    #[inline]
    pub(in crate::upstream) fn first_bytes(&self) -> Option<u64> {
        (self.attempt.get() == Attempt::Waiting).then(clock::micros)
    }

    /// The bytes that came at this time were the first of an answer.
    #[inline]
    pub(in crate::upstream) fn answer_began(&self, at_us: u64) {
        self.attempt.set(Attempt::Answering);
        let took = at_us.saturating_sub(self.began_us.get());
        self.first_byte_us.set(u32::try_from(took).unwrap_or(u32::MAX));
        if let Some(shard) = self.shard() {
            shard.first_byte(took);
        }
    }

    /// The slot has agreed to an upgrade.
    #[cold]
    pub(in crate::upstream) fn upgraded(&self) {
        if self.attempt.replace(Attempt::Upgraded) == Attempt::Answering
            && let Some(shard) = self.shard()
        {
            shard.upgraded();
        }
    }

    /// Whether the attempt has a connection, the status that its answer began with, and the bytes that came.
    #[cold]
    pub(in crate::upstream) fn how_far(&self) -> (bool, usize, i64) {
        let Some(state) = self.state() else { return (false, 0, 0) };
        // nginx sets it once the connection, and TLS on it, is established (ngx_http_upstream_send_request).
        let connected = state.connect_time != usize::MAX;
        (connected, state.status, state.bytes_received)
    }

    fn state(&self) -> Option<&ngx_http_upstream_state_t> {
        // SAFETY: the upstream that this was made for; it lives as long as the request.
        let state = unsafe { (*self.upstream).state };
        // SAFETY: null, or the state of the attempt, in the request's pool.
        unsafe { state.as_ref() }
    }

    /// The attempt has failed; nginx decides whether there is another one.
    #[cold]
    pub(in crate::upstream) fn attempt_failed(&self, why: AttemptFailure) {
        self.attempt_ends();
        if let Some(shard) = self.shard() {
            shard.attempt_failed(why);
        }
    }

    /// The attempt met a connection that the server had closed while it was idle: nginx makes it anew.
    #[cold]
    pub(in crate::upstream) fn attempt_did_not_count(&self) {
        self.attempt.set(Attempt::None);
        self.attempts.set(self.attempts.get().saturating_sub(1));
    }

    #[inline]
    pub(in crate::upstream) fn attempt_ends(&self) {
        if self.attempt.replace(Attempt::None) == Attempt::None {
            return;
        }
        if let (Some(shard), Some(state)) = (self.shard(), self.state()) {
            shard.transferred(positive(state.bytes_sent), positive(state.bytes_received));
        }
    }
}

/// nginx counts bytes with a sign.
#[inline]
fn positive(bytes: i64) -> u64 {
    u64::try_from(bytes).unwrap_or(0)
}
