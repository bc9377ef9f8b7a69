//! Requests of a group of backend names: `$cutover_upstream` chooses their slot, and another balancer does the rest.
//!
//! The module has no callbacks in front of that balancer. It reads the attempts when the request ends, from what nginx itself
//! keeps of each of them ([`states`](super::states)).

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::{self, NonNull};

use cutover_core::shard::{AttemptFailure, RequestEnd, Shard};
use ngx::core::Status;
use ngx::ffi::{NGX_HTTP_SERVICE_UNAVAILABLE, ngx_http_request_t, ngx_int_t};
use ngx::http::HttpModule;

use super::choice::{Choice, Filter, choose, is_main};
use super::states::{count, end_of, is_over_a_limit, milliseconds, next_part, states};
use crate::conf::Module;
use crate::ext::connection;
use crate::group::Group;
use crate::pool;
use crate::trial::Ended;

/// Where the attempts of a choice begin that was made for a variable alone.
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
    /// Whether its connection is upgraded.
    upgraded: Cell<bool>,
}

/// The slot for the request; `None` if the pool is exhausted.
///
/// nginx evaluates a variable twice, first to know how long its value is (ngx_http_script_complex_value_code): both must see
/// the same slot. So a choice is used until an attempt was made by it.
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

/// Whether the request has such a choice already that was made for a variable alone.
fn was_named(r: &ngx_http_request_t, group: &Group, choice: Choice) -> bool {
    all(r).any(|made| {
        ptr::eq(made.request, r)
            && made.is_for_a_variable()
            && ptr::eq(made.group.as_ptr(), group)
            && made.choice.slot == choice.slot
            && made.choice.by == choice.by
    })
}

/// Runs for each request before its access is checked, and again after each internal redirect: later attempts do not belong to a
/// choice that was made before the redirect.
pub(crate) unsafe extern "C" fn before_access(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx passes the request whose phases it runs.
    close_redirected(unsafe { &*r });
    Status::NGX_DECLINED.into()
}

/// A server has upgraded the connection of a request.
pub(super) fn upgraded(r: &ngx_http_request_t) {
    let Some(made) = latest(r).filter(|made| made.to.get() == usize::MAX) else { return };
    // SAFETY: the group lives as long as the cycle, which outlives the request.
    let group = unsafe { made.group.as_ref() };
    if let Some(shard) = made.choice.shard(group)
        && !made.upgraded.replace(true)
    {
        shard.upgraded();
    }
}

impl ByName {
    /// Whether it is the choice for a part of the request that begins there.
    fn stands(&self, from: usize) -> bool {
        self.from == from && self.to.get() == usize::MAX
    }

    /// Whether it was made for a variable alone.
    fn is_for_a_variable(&self) -> bool {
        self.from == NOWHERE
    }

    /// Later attempts do not belong to it.
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

/// This module's place in the request's context, which nginx clears at a redirect.
fn mark(r: &ngx_http_request_t) -> Option<&Cell<*mut c_void>> {
    let index = Module::module().ctx_index;
    // SAFETY: nginx gives each request a place for each HTTP module's context.
    let place = unsafe { r.ctx.add(index) };
    // SAFETY: the same; no other module uses this module's place, and a cell of a pointer is laid out as the pointer.
    unsafe { place.cast::<Cell<*mut c_void>>().as_ref() }
}

fn remember<'a>(
    r: &mut ngx_http_request_t,
    group: &Group,
    choice: Choice,
    from: usize,
) -> Option<&'a ByName> {
    let made = ByName {
        request: r,
        group: group.into(),
        choice,
        origin: !choice.inherited && (is_main(r) || choice.by.is_route()),
        from,
        to: Cell::new(usize::MAX),
        upgraded: Cell::new(false),
    };
    let made = pool::add(r.pool, made, ENDED)?;
    if let Some(shard) = choice.shard(group) {
        shard.hold();
    }
    Some(made)
}

/// A static, because a function named twice may have two addresses.
static ENDED: pool::Handler = ended;

fn choice(r: &mut ngx_http_request_t, group: &Group) -> Choice {
    choose(r, group, earlier)
}

/// What was chosen for an earlier part of the request.
fn earlier(r: &ngx_http_request_t, group: &Group, filter: Filter) -> Option<Choice> {
    let mut origins =
        all(r).filter(|made| made.origin && ptr::eq(made.group.as_ptr(), group) && filter(made.choice.by));
    origins.next().map(|made| Choice { inherited: true, ..made.choice })
}

/// The choice before, if the request itself (not a subrequest) had one.
fn latest<'a>(r: &ngx_http_request_t) -> Option<&'a ByName> {
    all(r).find(|made| ptr::eq(made.request, r) && !made.is_for_a_variable())
}

/// All choices in the pool that a request shares with its subrequests, latest first.
fn all<'a>(r: &ngx_http_request_t) -> impl Iterator<Item = &'a ByName> {
    // SAFETY: only `remember` uses this handler, with such data.
    unsafe { pool::entries(r.pool, ENDED) }
}

/// The request's pool is destroyed: everything about the request is known.
unsafe extern "C" fn ended(data: *mut c_void) {
    // SAFETY: what `remember` put there, in the pool that is being destroyed.
    let made: &ByName = unsafe { &*data.cast() };
    // SAFETY: nginx destroys a pool before the request in it is gone (ngx_http_free_request).
    let request = unsafe { &*made.request };
    // SAFETY: the group lives as long as the cycle, which outlives the request.
    let group = unsafe { made.group.as_ref() };
    let Some(shard) = made.choice.shard(group) else { return };
    if made.upgraded.get() {
        shard.downgraded();
    }
    let all = states(request);
    let own = all.get(made.from..made.to.get().min(all.len())).unwrap_or_default();
    let attempts = own.iter().filter(|state| !state.peer.is_null());
    let Some(last) = attempts.clone().next_back() else {
        return without_an_attempt(request, made, shard);
    };
    shard.started();
    for state in attempts {
        count(shard, state, ptr::eq(state, last));
    }
    let took_us = milliseconds(last.header_time).map(|ms| ms.saturating_mul(1000));
    finish(made, request, shard, (end_of(last), took_us));
}

/// Denied, redirected, or answered from a cache: the slot had no part in it. The exception is a balancer that found no live
/// server, which answers 503; nginx's own limits have the same status by default.
fn without_an_attempt(request: &ngx_http_request_t, made: &ByName, shard: &Shard) {
    // After a redirect the answer is that of another location; `error_page` keeps the status that led to it.
    let redirected = made.to.get() != usize::MAX;
    let status = if redirected { request.err_status } else { request.headers_out.status };
    let unavailable = status == NGX_HTTP_SERVICE_UNAVAILABLE as usize;
    if made.is_for_a_variable() || !unavailable || is_over_a_limit(request) {
        return shard.release();
    }
    shard.started();
    shard.attempt();
    shard.attempt_failed(AttemptFailure::NoPeer);
    finish(made, request, shard, (RequestEnd::Status(NGX_HTTP_SERVICE_UNAVAILABLE as u16), None));
}

/// Counts the end of a request, and how long its first byte took if there was one.
fn finish(
    made: &ByName,
    request: &ngx_http_request_t,
    shard: &Shard,
    (end, first_byte_us): (RequestEnd, Option<u64>),
) {
    shard.finished(end);
    let Choice { slot, generation, by, .. } = made.choice;
    if by.is_on_trial() {
        // SAFETY: the group lives as long as the cycle, which outlives the request.
        let group = unsafe { made.group.as_ref() };
        let log = connection(request).log;
        Ended { group, slot, shard, generation, end, first_byte_us, log }.count();
    }
}
