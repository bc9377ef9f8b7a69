//! What nginx itself keeps of the attempts of a request (`r->upstream_states`). Its times are exact to a millisecond.

use cutover_core::shard::{AttemptFailure, RequestEnd, Shard};
use ngx::ffi::{
    NGX_HTTP_CLIENT_CLOSED_REQUEST, NGX_HTTP_GATEWAY_TIME_OUT, NGX_HTTP_SWITCHING_PROTOCOLS,
    ngx_http_request_t, ngx_http_upstream_state_t,
};

use crate::ext::elements;
use crate::layout::bits;

/// An entry for each attempt. An entry without a peer precedes the attempts of each upstream request but the first.
pub(super) fn states<'a>(r: &ngx_http_request_t) -> &'a [ngx_http_upstream_state_t] {
    // SAFETY: null, or the array of the request, which holds ngx_http_upstream_state_t.
    unsafe { elements(r.upstream_states) }
}

/// Where the attempts of an upstream request would begin that began now (ngx_http_upstream_init_request).
pub(super) fn next_part(r: &ngx_http_request_t) -> usize {
    if r.upstream_states.is_null() { 0 } else { states(r).len() + 1 }
}

/// Whether `limit_req` or `limit_conn` has refused the request.
pub(super) fn is_over_a_limit(request: &ngx_http_request_t) -> bool {
    // NGX_HTTP_LIMIT_REQ_REJECTED and NGX_HTTP_LIMIT_CONN_REJECTED, which are private to their modules.
    const REQUESTS_REJECTED: u32 = 3;
    const CONNECTIONS_REJECTED: u32 = 2;
    // SAFETY: each request has a main request, itself or the one that it was made for.
    let main = unsafe { &*request.main };
    bits::ngx_http_request_t::LIMIT_REQ_STATUS.get(main) == REQUESTS_REJECTED
        || bits::ngx_http_request_t::LIMIT_CONN_STATUS.get(main) == CONNECTIONS_REJECTED
}

/// Counts one attempt.
pub(super) fn count(shard: &Shard, state: &ngx_http_upstream_state_t, is_last: bool) {
    shard.attempt();
    let bytes = |bytes: i64| u64::try_from(bytes).unwrap_or(0);
    shard.transferred(bytes(state.bytes_sent), bytes(state.bytes_received));
    let first_byte = milliseconds(state.header_time);
    let gone = state.status == NGX_HTTP_CLIENT_CLOSED_REQUEST as usize || state.status == 0;
    if first_byte.is_none() && !gone {
        let late = state.status == NGX_HTTP_GATEWAY_TIME_OUT as usize;
        let connected = milliseconds(state.connect_time).is_some();
        shard.attempt_failed(match (late, connected) {
            (true, _) => AttemptFailure::Timeout,
            (false, false) => AttemptFailure::Connect,
            (false, true) => AttemptFailure::Answer,
        });
    } else if !is_last {
        shard.attempt_failed(AttemptFailure::Status);
    }
    let Some(first_byte) = first_byte else { return };
    shard.first_byte(first_byte.saturating_mul(1000));
    if let Some(whole) = milliseconds(state.response_time).filter(|_| is_last && !is_upgrade(state)) {
        shard.whole(whole.saturating_mul(1000));
    }
}

fn is_upgrade(state: &ngx_http_upstream_state_t) -> bool {
    state.status == NGX_HTTP_SWITCHING_PROTOCOLS as usize
}

/// How the request ended, by its last attempt.
pub(super) fn end_of(last: &ngx_http_upstream_state_t) -> RequestEnd {
    match u16::try_from(last.status) {
        Ok(0) | Err(_) => RequestEnd::Aborted,
        Ok(status) if u32::from(status) == NGX_HTTP_CLIENT_CLOSED_REQUEST => RequestEnd::Aborted,
        Ok(status) => RequestEnd::Status(status),
    }
}

/// A time of an attempt, in milliseconds. nginx writes -1 where a thing has not happened.
pub(super) fn milliseconds(time: usize) -> Option<u64> {
    (time != usize::MAX).then_some(time as u64)
}
