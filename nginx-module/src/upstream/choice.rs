//! The slot of a request: chosen once for each group, and inherited by all that nginx makes of the request.
//!
//! ```text
//! cutover_slot in the location   a part of a request that has a choice    the first part
//! none                           inherits it                             the route decides
//! active, or empty               inherits what the route has decided      the route decides
//! standby                        inherits what standby has meant          the standby
//! a name                         that slot                               that slot
//! ```
//!
//! A part is a subrequest, or what follows an internal redirect. It inherits the route's generation too, so that it counts for the
//! trial under which the request began, or for none. A request belongs to one cycle with all of its parts, so the slot that it
//! inherits is always there. What a location fixes for a subrequest is no choice for others: a mirror to the standby takes nobody
//! along. Where each kind of group keeps its choices: [`Record`](super::Record),
//! [`by_name`](super::by_name).

use cutover_core::route::Reading;
use cutover_core::split::Draw;
use ngx::ffi::{
    NGX_LOG_INFO, ngx_http_complex_value, ngx_http_complex_value_t, ngx_http_request_t, ngx_log_t, ngx_str_t,
};
use ngx::http::HttpModuleLocationConf;

use crate::Module;
use crate::ext::{connection, log};
use crate::group::{By, Choice, Group};
use crate::trial;

/// Which choices of a request are meant.
pub(crate) type Wanted = fn(By) -> bool;

/// The slot for a request; `earlier` finds what was chosen for an earlier part of it.
// Always: the usual request pays for no call.
#[inline(always)]
pub(super) fn choose(
    request: &mut ngx_http_request_t,
    group: &Group,
    earlier: impl Fn(&ngx_http_request_t, &Group, Wanted) -> Option<Choice>,
) -> Choice {
    match Module::location_conf(request) {
        Some(location) if !location.slot.is_null() => by_value(request, group, location.slot, earlier),
        _ => earlier(request, group, |_| true).unwrap_or_else(|| by_route(request, group)),
    }
}

/// Whether it is no subrequest.
#[inline]
pub(super) fn is_main(request: &ngx_http_request_t) -> bool {
    std::ptr::eq(request.main, request)
}

/// Whether its location has a `cutover_slot`.
pub(super) fn is_fixed(request: &ngx_http_request_t) -> bool {
    Module::location_conf(request).is_some_and(|location| !location.slot.is_null())
}

#[inline(always)]
fn by_route(request: &mut ngx_http_request_t, group: &Group) -> Choice {
    match group.decided() {
        Some(choice) if !choice.by.is_on_trial() || trial::is_quiet(group, choice.generation) => choice,
        _ => decide(request, group),
    }
}

#[cold]
fn decide(request: &mut ngx_http_request_t, group: &Group) -> Choice {
    let logger = connection(request).log;
    let reading = reading(group, logger);
    group.choose(reading, logger, || draw(request, group))
}

/// What the route says, after a look at its trial if it has one.
#[inline]
fn reading(group: &Group, logger: *mut ngx_log_t) -> Reading {
    match group.reading() {
        Reading::Set(route) if route.to.armed && !trial::is_quiet(group, route.generation) => {
            trial::look(group, logger)
        }
        reading => reading,
    }
}

/// By the key if the group has one and it is not empty, else by chance.
#[cold]
fn draw(request: &mut ngx_http_request_t, group: &Group) -> Draw {
    let mut key = ngx_str_t::empty();
    let has_key = !group.split_key.is_null()
        // SAFETY: compiled in the configuration that the group belongs to.
        && unsafe { ngx_http_complex_value(request, group.split_key, &mut key) } == 0
        && !key.is_empty();
    if has_key { Draw::of_key(key.as_bytes()) } else { group.dice.draw() }
}

#[cold]
fn by_value(
    request: &mut ngx_http_request_t,
    group: &Group,
    value: *mut ngx_http_complex_value_t,
    earlier: impl Fn(&ngx_http_request_t, &Group, Wanted) -> Option<Choice>,
) -> Choice {
    let mut wanted = ngx_str_t::empty();
    // SAFETY: compiled in the configuration of this request's location.
    if unsafe { ngx_http_complex_value(request, value, &mut wanted) } != 0 {
        wanted = ngx_str_t::empty();
    }
    let logger = connection(request).log;
    match wanted.as_bytes() {
        b"" | b"active" => {}
        b"standby" => {
            return earlier(request, group, |by| by == By::Standby)
                .unwrap_or_else(|| group.standby(reading(group, logger), logger));
        }
        name => match group.position(name) {
            // A request that asks for a slot by name does not count for the trial.
            Some(slot) => {
                let generation = group.reading().generation();
                return Choice { slot, generation, by: By::Name, inherited: false };
            }
            None => log(
                NGX_LOG_INFO,
                logger,
                format_args!(
                    "cutover_slot: group \"{}\" has no slot \"{}\"; the route decides",
                    group.name,
                    name.escape_ascii()
                ),
            ),
        },
    }
    earlier(request, group, By::is_route).unwrap_or_else(|| by_route(request, group))
}
