//! Requests of a group of backend names: `$cutover_upstream` chooses their slot, and another balancer does the rest.
//!
//! Nothing of the module stands between nginx and that balancer, so what happened is read when the request ends, from what
//! nginx itself remembers of each attempt (`r->upstream_states`). Its times are exact to a millisecond.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::{self, NonNull};

use cutover_core::shard::{Failure, Outcome, Shard};
use ngx::core::Status;
use ngx::ffi::{
    NGX_HTTP_CLIENT_CLOSED_REQUEST, NGX_HTTP_GATEWAY_TIME_OUT, NGX_HTTP_SERVICE_UNAVAILABLE,
    NGX_HTTP_SWITCHING_PROTOCOLS, ngx_http_request_t, ngx_http_upstream_state_t, ngx_int_t,
    ngx_pool_cleanup_add, ngx_pool_cleanup_t,
};
use ngx::http::HttpModule;

use super::choice::{Wanted, choose, is_main};
use crate::Module;
use crate::ext::{connection, elements};
use crate::group::{Choice, Group};
use crate::layout::bits;
use crate::trial;

/// Where the attempts begin of a choice that none is made by.
const NOWHERE: usize = usize::MAX;

/// One choice for one request, in a clean-up entry of its pool.
struct ByName {
    request: *mut ngx_http_request_t,
    group: NonNull<Group>,
    choice: Choice,
    /// Whether other parts of the request inherit it.
    origin: bool,
    /// The attempts of this choice are those from here ..
    from: usize,
    /// .. to here: where an internal redirect begins, or another choice.
    to: Cell<usize>,
}

/// The slot for the request; `None` if the pool is exhausted.
///
/// nginx evaluates a variable twice, first to know how long its value is (ngx_http_script_complex_value_code): both must see
/// the same slot. So a choice stands until an attempt was made by it.
pub(crate) fn slot(r: &mut ngx_http_request_t, group: &Group) -> Option<usize> {
    close_redirected(r);
    let from = next_part(r);
    match latest(r) {
        Some(before) if before.stands(from) && ptr::eq(before.group.as_ptr(), group) => {
            Some(before.choice.slot)
        }
        before => {
            if let Some(before) = before {
                before.ends_at(states(r).len());
            }
            let choice = choice(r, group);
            let made = remember(r, group, choice, from)?;
            if let Some(mark) = mark(r) {
                mark.set(ptr::from_ref(made).cast_mut().cast());
            }
            Some(choice.slot)
        }
    }
}

/// The slot that the request has for the group, chosen now if it has none; whatever is tried is none of this choice's attempts.
/// `None` if the pool is exhausted.
pub(crate) fn slot_without_upstream(r: &mut ngx_http_request_t, group: &Group) -> Option<Choice> {
    let choice = choice(r, group);
    if !choice.inherited && (is_main(r) || choice.by.is_route()) && !was_named(r, group, choice) {
        remember(r, group, choice, NOWHERE)?;
    }
    Some(choice)
}

/// Whether the request has such a choice already that no upstream request was meant to come of.
fn was_named(r: &ngx_http_request_t, group: &Group, choice: Choice) -> bool {
    all(r).any(|made| {
        ptr::eq(made.request, r)
            && made.is_for_a_variable()
            && ptr::eq(made.group.as_ptr(), group)
            && made.choice.slot == choice.slot
            && made.choice.by == choice.by
    })
}

/// Runs for each request before its access is checked, and again after each internal redirect: what nginx tries from here on is no
/// attempt of a choice that was made before the redirect.
pub(crate) unsafe extern "C" fn before_access(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx passes the request whose phases it runs.
    close_redirected(unsafe { &*r });
    Status::NGX_DECLINED.into()
}

impl ByName {
    /// Whether it is the choice for a part of the request that begins there.
    fn stands(&self, from: usize) -> bool {
        self.from == from && self.to.get() == usize::MAX
    }

    /// Whether no upstream request was meant to come of it.
    fn is_for_a_variable(&self) -> bool {
        self.from == NOWHERE
    }

    /// What comes from here on is not its.
    fn ends_at(&self, at: usize) {
        self.to.set(self.to.get().min(at));
    }
}

/// Ends the part that was before an internal redirect. nginx forgets what modules know of a request then
/// (ngx_http_internal_redirect, ngx_http_named_location).
fn close_redirected(r: &ngx_http_request_t) {
    if mark(r).is_some_and(|mark| mark.get().is_null())
        && let Some(before) = latest(r)
    {
        before.ends_at(states(r).len());
    }
}

/// This module's place among what nginx forgets with a redirect.
fn mark(r: &ngx_http_request_t) -> Option<&Cell<*mut c_void>> {
    let index = Module::module().ctx_index;
    // SAFETY: nginx gives each request a place for each HTTP module's context.
    let place = unsafe { r.ctx.add(index) };
    // SAFETY: the same; nobody else uses this module's place, and a cell of a pointer is laid out as the pointer.
    unsafe { place.cast::<Cell<*mut c_void>>().as_ref() }
}

fn remember<'a>(
    r: &mut ngx_http_request_t,
    group: &Group,
    choice: Choice,
    from: usize,
) -> Option<&'a ByName> {
    // SAFETY: the pool is the request's.
    let entry = unsafe { ngx_pool_cleanup_add(r.pool, size_of::<ByName>()) };
    // SAFETY: an entry of the pool, or null.
    let entry = unsafe { entry.as_mut() }?;
    let made = ByName {
        request: r,
        group: group.into(),
        choice,
        origin: !choice.inherited && (is_main(r) || choice.by.is_route()),
        from,
        to: Cell::new(usize::MAX),
    };
    if let Some(shard) = group.shard(choice.slot) {
        shard.hold();
    }
    // SAFETY: nginx allocated the size of it there, aligned for any type.
    unsafe { entry.data.cast::<ByName>().write(made) };
    entry.handler = Some(ENDED);
    // SAFETY: just written; it lives as long as the request's pool.
    unsafe { entry.data.cast::<ByName>().as_ref() }
}

/// A static, because a function named twice may have two addresses.
static ENDED: unsafe extern "C" fn(*mut c_void) = ended;

fn choice(r: &mut ngx_http_request_t, group: &Group) -> Choice {
    choose(r, group, earlier)
}

/// What was chosen for an earlier part of the request.
fn earlier(r: &ngx_http_request_t, group: &Group, wanted: Wanted) -> Option<Choice> {
    let mut origins =
        all(r).filter(|made| made.origin && ptr::eq(made.group.as_ptr(), group) && wanted(made.choice.by));
    origins.next().map(|made| Choice { inherited: true, ..made.choice })
}

/// The choice before, if the request itself (not a subrequest) had one.
fn latest<'a>(r: &ngx_http_request_t) -> Option<&'a ByName> {
    all(r).find(|made| ptr::eq(made.request, r) && !made.is_for_a_variable())
}

/// All choices in the pool that a request shares with its subrequests, latest first.
fn all<'a>(r: &ngx_http_request_t) -> impl Iterator<Item = &'a ByName> {
    // SAFETY: a request's pool lives as long as the request.
    let mut next: *mut ngx_pool_cleanup_t = unsafe { (*r.pool).cleanup };
    std::iter::from_fn(move || {
        loop {
            // SAFETY: nginx links the entries of the pool, latest first, and ends them with null.
            let entry = unsafe { next.as_ref() }?;
            next = entry.next;
            if entry.handler.is_some_and(|handler| ptr::fn_addr_eq(handler, ENDED)) {
                // SAFETY: only `remember` uses this handler, with such data.
                return unsafe { entry.data.cast::<ByName>().as_ref() };
            }
        }
    })
}

/// An entry for each attempt; one without a peer stands before those of each upstream request but the first.
fn states<'a>(r: &ngx_http_request_t) -> &'a [ngx_http_upstream_state_t] {
    // SAFETY: null, or the array of the request, which holds ngx_http_upstream_state_t.
    unsafe { elements(r.upstream_states) }
}

/// Where the attempts of an upstream request would begin that began now (ngx_http_upstream_init_request).
fn next_part(r: &ngx_http_request_t) -> usize {
    if r.upstream_states.is_null() { 0 } else { states(r).len() + 1 }
}

/// The request's pool goes away: everything about it is known.
unsafe extern "C" fn ended(data: *mut c_void) {
    // SAFETY: what `remember` put there, in the pool that is being destroyed.
    let made: &ByName = unsafe { &*data.cast() };
    // SAFETY: nginx destroys a pool before the request in it is gone (ngx_http_free_request).
    let request = unsafe { &*made.request };
    // SAFETY: the group lives as long as the cycle, which outlives the request.
    let group = unsafe { made.group.as_ref() };
    let Some(shard) = group.shard(made.choice.slot) else { return };
    let all = states(request);
    let own = all.get(made.from..made.to.get().min(all.len())).unwrap_or_default();
    let attempts = own.iter().filter(|state| !state.peer.is_null());
    let Some(last) = attempts.clone().next_back() else {
        return without_an_attempt(request, made, group, shard);
    };
    shard.started();
    for state in attempts {
        count(shard, state, ptr::eq(state, last));
    }
    let outcome = outcome(last);
    shard.finished(outcome);
    if made.choice.by.is_on_trial() {
        let took = milliseconds(last.header_time).map(|ms| ms.saturating_mul(1000));
        trial::ended(
            group,
            made.choice.slot,
            shard,
            made.choice.generation,
            outcome,
            took,
            connection(request).log,
        );
    }
}

/// Denied, redirected, or answered from a cache: the slot had no part in it. But for a balancer that found nobody there, which
/// says so by a 503; nginx's own limits have the same status unless told otherwise.
fn without_an_attempt(request: &ngx_http_request_t, made: &ByName, group: &Group, shard: &Shard) {
    // After a redirect the answer is somebody else's; what led to it is left where `error_page` keeps the status.
    let redirected = made.to.get() != usize::MAX;
    let status = if redirected { request.err_status } else { request.headers_out.status };
    let nobody = status == NGX_HTTP_SERVICE_UNAVAILABLE as usize;
    if made.is_for_a_variable() || !nobody || is_over_a_limit(request) {
        return shard.release();
    }
    let outcome = Outcome::Status(NGX_HTTP_SERVICE_UNAVAILABLE as u16);
    shard.started();
    shard.attempt();
    shard.attempt_failed(Failure::NoPeer);
    shard.finished(outcome);
    if made.choice.by.is_on_trial() {
        trial::ended(
            group,
            made.choice.slot,
            shard,
            made.choice.generation,
            outcome,
            None,
            connection(request).log,
        );
    }
}

/// Whether `limit_req` or `limit_conn` has refused the request.
fn is_over_a_limit(request: &ngx_http_request_t) -> bool {
    // NGX_HTTP_LIMIT_REQ_REJECTED and NGX_HTTP_LIMIT_CONN_REJECTED, which are private to their modules.
    const REQUESTS_REJECTED: u32 = 3;
    const CONNECTIONS_REJECTED: u32 = 2;
    // SAFETY: each request has a main request, itself or the one that it was made for.
    let main = unsafe { &*request.main };
    bits::ngx_http_request_t::LIMIT_REQ_STATUS.get(main) == REQUESTS_REJECTED
        || bits::ngx_http_request_t::LIMIT_CONN_STATUS.get(main) == CONNECTIONS_REJECTED
}

fn count(shard: &Shard, state: &ngx_http_upstream_state_t, is_last: bool) {
    shard.attempt();
    let bytes = |bytes: i64| u64::try_from(bytes).unwrap_or(0);
    shard.transferred(bytes(state.bytes_sent), bytes(state.bytes_received));
    let first_byte = milliseconds(state.header_time);
    let gone = state.status == NGX_HTTP_CLIENT_CLOSED_REQUEST as usize || state.status == 0;
    if first_byte.is_none() && !gone {
        let late = state.status == NGX_HTTP_GATEWAY_TIME_OUT as usize;
        let connected = milliseconds(state.connect_time).is_some();
        shard.attempt_failed(match (late, connected) {
            (true, _) => Failure::Timeout,
            (false, false) => Failure::Connect,
            (false, true) => Failure::Answer,
        });
    } else if !is_last {
        shard.attempt_failed(Failure::Status);
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

fn outcome(last: &ngx_http_upstream_state_t) -> Outcome {
    match u16::try_from(last.status) {
        Ok(0) | Err(_) => Outcome::Aborted,
        Ok(status) if u32::from(status) == NGX_HTTP_CLIENT_CLOSED_REQUEST => Outcome::Aborted,
        Ok(status) => Outcome::Status(status),
    }
}

/// nginx writes -1 where something has not happened.
fn milliseconds(time: usize) -> Option<u64> {
    (time != usize::MAX).then_some(time as u64)
}
