//! The end of a request, for the counters and for the trial.

use cutover_core::shard::{AttemptFailure, RequestEnd, Shard};
use ngx::core::Status;
#[cfg(ngx_feature = "http_cache")]
use ngx::ffi::NGX_HTTP_CACHE_STALE;
use ngx::ffi::{
    NGX_ERROR, NGX_HTTP_BAD_GATEWAY, NGX_HTTP_BAD_REQUEST, NGX_HTTP_CLIENT_CLOSED_REQUEST,
    NGX_HTTP_GATEWAY_TIME_OUT, NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_HTTP_REQUEST_TIME_OUT,
    NGX_HTTP_SPECIAL_RESPONSE, NGX_HTTP_SWITCHING_PROTOCOLS, ngx_http_upstream_t, ngx_int_t,
};

use super::{Attempt, Progress, UpstreamRequest};
use crate::clock;
use crate::ext::connection;
use crate::layout::bits;
use crate::trial::Ended;

impl UpstreamRequest {
    /// All of the upstream request ends.
    #[inline]
    pub(in crate::upstream) fn finish(&self, u: &ngx_http_upstream_t, rc: ngx_int_t) {
        if self.progress.replace(Progress::Finished) != Progress::Started {
            return;
        }
        let answered = u.headers_in.status_n;
        let usual = rc == Status::NGX_OK.0
            && self.attempt.get() == Attempt::Answering
            && (200..400).contains(&answered)
            && hidden_by_cache(u).is_none();
        if !usual {
            return self.finish_otherwise(u, rc);
        }
        if let Some(shard) = self.shard() {
            shard.whole(clock::micros().saturating_sub(self.began_us.get()));
        }
        self.attempt_ends();
        self.ends_before_others(answered);
        self.leave_slot(RequestEnd::Status(answered as u16));
    }

    /// The same for all but a whole answer to a request that went well.
    #[cold]
    fn finish_otherwise(&self, u: &ngx_http_upstream_t, rc: ngx_int_t) {
        // An internal redirect may follow, of an error_page or of X-Accel-Redirect; or another upstream has taken the place of this
        // one (ngx_http_upstream_create).
        if rc >= NGX_HTTP_SPECIAL_RESPONSE as ngx_int_t
            || rc == Status::NGX_DECLINED.0
            || rc == Status::NGX_DONE.0
        {
            // If the pool is exhausted the variables are empty after the redirect, and the slot is chosen anew.
            let _ = self.remember();
            self.part_ends();
        } else {
            self.ends_before_others(0);
        }
        let end = self.end_of(u, rc);
        let attempt = self.attempt.get();
        let Some(shard) = self.shard() else { return };
        self.attempt_ends();
        match attempt {
            Attempt::None => {}
            Attempt::Upgraded => shard.downgraded(),
            Attempt::Waiting | Attempt::Answering if self.is_cut_off(u, rc) => {
                let late = rc == NGX_HTTP_GATEWAY_TIME_OUT as ngx_int_t;
                shard.attempt_failed(if late { AttemptFailure::Timeout } else { AttemptFailure::Answer });
            }
            Attempt::Answering if rc == Status::NGX_OK.0 => {
                shard.whole(clock::micros().saturating_sub(self.began_us.get()));
            }
            Attempt::Waiting | Attempt::Answering => {}
        }
        self.leave_slot(end);
    }

    // Always: the usual request pays for no call.
    #[inline(always)]
    pub(in crate::upstream) fn leave_slot(&self, end: RequestEnd) {
        let Some(shard) = self.shard() else { return };
        shard.finished(end);
        if self.by.is_on_trial() {
            self.tell_trial(shard, end);
        }
    }

    fn tell_trial(&self, shard: &Shard, end: RequestEnd) {
        let took = u64::from(self.first_byte_us.get());
        // SAFETY: the request that this was made for, in whose pool it lives.
        let log = connection(unsafe { &*self.request }).log;
        let slot = usize::from(self.slot.get());
        let first_byte_us = (took != 0).then_some(took);
        let (group, generation) = (self.group(), self.generation);
        Ended { group, slot, shard, generation, end, first_byte_us, log }.count();
    }

    /// `rc` of ngx_http_upstream_finalize_request: a status when nginx answers in the slot's place, else the slot's own counts.
    fn end_of(&self, u: &ngx_http_upstream_t, rc: ngx_int_t) -> RequestEnd {
        const GONE: ngx_int_t = NGX_HTTP_CLIENT_CLOSED_REQUEST as ngx_int_t;
        const SLOW_CLIENT: ngx_int_t = NGX_HTTP_REQUEST_TIME_OUT as ngx_int_t;
        const BAD_BODY: ngx_int_t = NGX_HTTP_BAD_REQUEST as ngx_int_t;
        const ERROR: ngx_int_t = NGX_ERROR as ngx_int_t;
        let answered = u.headers_in.status_n;
        if bits::ngx_http_upstream_t::UPGRADE.is_set(u) {
            // However an upgraded connection ends, also by a time-out of an idle one: the slot did its part.
            return RequestEnd::Status(NGX_HTTP_SWITCHING_PROTOCOLS as u16);
        }
        if let Some(status) = hidden_by_cache(u) {
            return RequestEnd::Status(status);
        }
        match rc {
            GONE | SLOW_CLIENT => RequestEnd::Aborted,
            // nginx finds out that the client is gone while it passes the client's body on, or the answer.
            BAD_BODY | ERROR if self.client_is_gone(u) => RequestEnd::Aborted,
            ERROR if is_refused_by_nginx(u) => RequestEnd::Status(answered as u16),
            // nginx cannot read on in the answer: a chunk or a frame makes no sense, or a stream was reset.
            ERROR if answered != 0 => RequestEnd::Status(NGX_HTTP_BAD_GATEWAY as u16),
            rc if rc >= NGX_HTTP_SPECIAL_RESPONSE as ngx_int_t => RequestEnd::Status(rc as u16),
            _ if answered != 0 => RequestEnd::Status(answered as u16),
            _ if rc == Status::NGX_DONE.0 || self.client_is_gone(u) => RequestEnd::Aborted,
            _ => RequestEnd::Status(NGX_HTTP_INTERNAL_SERVER_ERROR as u16),
        }
    }

    /// Or takes too long to read on.
    fn client_is_gone(&self, u: &ngx_http_upstream_t) -> bool {
        // SAFETY: the request that this was made for, in whose pool it lives.
        let client = connection(unsafe { &*self.request });
        // SAFETY: null unless the answer is buffered; in the request's pool.
        let pipe = unsafe { u.pipe.as_ref() };
        bits::ngx_connection_t::ERROR.is_set(client)
            || bits::ngx_connection_t::TIMEDOUT.is_set(client)
            || pipe.is_some_and(|pipe| bits::ngx_event_pipe_t::DOWNSTREAM_ERROR.is_set(pipe))
    }

    /// An answer that began and did not end well: the peer is still held, so peer.free has not got a failure.
    fn is_cut_off(&self, u: &ngx_http_upstream_t, rc: ngx_int_t) -> bool {
        let answered = u.headers_in.status_n;
        let bad = match rc {
            rc if rc == Status::NGX_ERROR.0 => {
                answered != 0 && !self.client_is_gone(u) && !is_refused_by_nginx(u)
            }
            // With proxy_intercept_errors nginx ends a request by the slot's own status, and answers in its place.
            rc if rc == NGX_HTTP_BAD_GATEWAY as ngx_int_t || rc == NGX_HTTP_GATEWAY_TIME_OUT as ngx_int_t => {
                bits::ngx_http_upstream_t::HEADER_SENT.is_set(u) || answered as ngx_int_t != rc
            }
            _ => false,
        };
        bad && !u.peer.sockaddr.is_null() && !bits::ngx_http_upstream_t::UPGRADE.is_set(u)
    }
}

/// A filter of nginx's own has refused the head of a good answer, as that of `slice` does when the `ETag` is another one than the
/// first slice had.
fn is_refused_by_nginx(u: &ngx_http_upstream_t) -> bool {
    u.headers_in.status_n != 0 && !bits::ngx_http_upstream_t::HEADER_SENT.is_set(u)
}

/// With `proxy_cache_use_stale` nginx answers from the cache in place of a slot that failed, and reads the old status over the
/// new one: the attempt still has it.
#[cfg(ngx_feature = "http_cache")]
fn hidden_by_cache(u: &ngx_http_upstream_t) -> Option<u16> {
    if bits::ngx_http_upstream_t::CACHE_STATUS.get(u) != NGX_HTTP_CACHE_STALE {
        return None;
    }
    // SAFETY: null, or the state of the last attempt, in the request's pool.
    let status = unsafe { u.state.as_ref() }?.status;
    u16::try_from(status).ok().filter(|status| *status != 0)
}

#[cfg(not(ngx_feature = "http_cache"))]
fn hidden_by_cache(_: &ngx_http_upstream_t) -> Option<u16> {
    None
}
