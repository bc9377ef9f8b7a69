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
//! inherits is always there. What a location fixes for a subrequest is no choice for others: a mirror to the standby takes no
//! other part along. Where each kind of group keeps its choices: [`UpstreamRequest`](super::request::UpstreamRequest),
//! [`by_name`](super::by_name).

use cutover_core::api::next_standby;
use cutover_core::route::{Reading, Route, RouteWord};
use cutover_core::shard::Shard;
use cutover_core::split::{Draw, Split};
use ngx::ffi::{
    NGX_LOG_ALERT, NGX_LOG_INFO, NGX_LOG_WARN, ngx_http_complex_value, ngx_http_complex_value_t,
    ngx_http_request_t, ngx_log_t, ngx_str_t,
};
use ngx::http::HttpModuleLocationConf;

use crate::conf::Module;
use crate::ext::{connection, log};
use crate::group::Group;
use crate::trial;

/// A slot that was chosen for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Position in [`Group::slots`].
    pub(crate) slot: usize,
    /// The route's generation when it was chosen.
    pub(crate) generation: u32,
    pub(crate) by: By,
    /// Whether it was made for an earlier part of the same request.
    pub(crate) inherited: bool,
}

/// What a slot was chosen by.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The route.
    Route,
    /// The route while it was on trial.
    Trial,
    /// `cutover_slot standby`: the request is a preview.
    Standby,
    /// `cutover_slot NAME`: the request is a preview, also of the active slot.
    Name,
}

impl By {
    /// Whether the request belongs to a trial: guard and rescue are for those alone.
    #[inline]
    pub(crate) fn is_on_trial(self) -> bool {
        self == Self::Trial
    }

    /// Whether the route has decided, on trial or not.
    #[inline]
    pub(crate) fn is_route(self) -> bool {
        matches!(self, Self::Route | Self::Trial)
    }
}

impl Choice {
    /// Where this process counts the request: previews apart from requests of users.
    #[inline]
    pub(super) fn shard(self, group: &Group) -> Option<&Shard> {
        if self.by.is_route() { group.shard(self.slot) } else { group.preview_shard(self.slot) }
    }

    /// What the route says now.
    #[inline]
    fn by_route(slot: usize, generation: u32, on_trial: bool) -> Self {
        let by = if on_trial { By::Trial } else { By::Route };
        Self { slot, generation, by, inherited: false }
    }
}

/// Which earlier choices of a request count.
pub(crate) type Filter = fn(By) -> bool;

/// The slot for a request; `earlier` finds what was chosen for an earlier part of it.
// Always: the usual request pays for no call.
#[inline(always)]
pub(super) fn choose(
    request: &mut ngx_http_request_t,
    group: &Group,
    earlier: impl Fn(&ngx_http_request_t, &Group, Filter) -> Option<Choice>,
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
    match decided(group) {
        Some(choice) if !choice.by.is_on_trial() || trial::is_quiet(group, choice.generation) => choice,
        _ => decide(request, group),
    }
}

/// What was decided for the last request, if the route still says the same.
#[inline]
fn decided(group: &Group) -> Option<Choice> {
    let (word, on_trial) = group.process.decided.get()?;
    let generation = RouteWord::generation_of(word);
    let slot = group.process.last.get();
    (group.word()?.bits() == word).then(|| Choice::by_route(slot, generation, on_trial))
}

/// Asks the route.
///
/// An old worker that finishes its requests after a reload may find a slot that it does not have: it stays with the slot that had
/// the traffic before. So does any worker when the word cannot be read. Both are logged once.
#[cold]
fn decide(request: &mut ngx_http_request_t, group: &Group) -> Choice {
    let logger = connection(request).log;
    let reading = reading(group, logger);
    let position = match reading {
        Reading::Set(Route { to, .. }) if to.split.is_some() => {
            let split = to.split.filter(|split| split.takes(draw(request, group)));
            group.position_of(split.map_or(to.active, Split::second))
        }
        _ => group.position_in(reading),
    };
    let on_trial = matches!(reading, Reading::Set(route) if route.to.armed);
    let choice = |slot| Choice::by_route(slot, reading.generation(), on_trial);
    let Some(slot) = position else { return choice(stay_on_known_slot(group, reading, logger)) };
    group.process.last.set(slot);
    let word = match reading {
        Reading::Unset => Some(0),
        // A split is drawn for each request.
        Reading::Set(route) => Some(route.encode()).filter(|_| route.to.split.is_none()),
        Reading::Damaged => None,
    };
    group.process.decided.set(word.map(|word| (word, on_trial)));
    choice(slot)
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
    if has_key { Draw::of_key(key.as_bytes()) } else { group.process.dice.draw() }
}

#[cold]
fn by_value(
    request: &mut ngx_http_request_t,
    group: &Group,
    value: *mut ngx_http_complex_value_t,
    earlier: impl Fn(&ngx_http_request_t, &Group, Filter) -> Option<Choice>,
) -> Choice {
    let mut named = ngx_str_t::empty();
    // SAFETY: compiled in the configuration of this request's location.
    if unsafe { ngx_http_complex_value(request, value, &mut named) } != 0 {
        named = ngx_str_t::empty();
    }
    let logger = connection(request).log;
    match named.as_bytes() {
        b"" | b"active" => {}
        b"standby" => {
            return earlier(request, group, |by| by == By::Standby)
                .unwrap_or_else(|| standby(group, reading(group, logger)));
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

/// The slot that would take over; see [`next_standby`].
pub(crate) fn standby(group: &Group, reading: Reading) -> Choice {
    let second = match reading {
        Reading::Set(route) => route.to.split.and_then(|split| group.position_of(split.second())),
        Reading::Unset | Reading::Damaged => None,
    };
    let active = group.position_in(reading).unwrap_or_else(|| group.position_before(reading));
    let chosen = group.memory().zip(group.record());
    let chosen = chosen.and_then(|(memory, record)| memory.memfd.standby(record));
    let chosen = chosen.and_then(|id| group.position_of(id));
    let slot = next_standby(active, group.slots.len(), second, chosen);
    Choice { slot, generation: reading.generation(), by: By::Standby, inherited: false }
}

/// The route cannot be followed: logs it once, and returns the slot that the worker stays with.
#[cold]
fn stay_on_known_slot(group: &Group, reading: Reading, logger: *mut ngx_log_t) -> usize {
    if !group.process.logged_unknown.replace(true) {
        let what = match reading {
            Reading::Damaged => "cannot be read",
            Reading::Set(_) | Reading::Unset => {
                "leads to a slot that this worker's configuration does not have"
            }
        };
        let level = if reading == Reading::Damaged { NGX_LOG_ALERT } else { NGX_LOG_WARN };
        log(
            level,
            logger,
            format_args!(
                "cutover: the route of group \"{}\" {what}; it stays on \"{}\"",
                group.name,
                group.name_in(reading)
            ),
        );
    }
    group.position_before(reading)
}
