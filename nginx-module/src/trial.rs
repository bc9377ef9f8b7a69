//! A change on trial, at run time: guard and lease take the traffic back, in whichever worker finds out first.
//!
//! ```text
//! request that ends on the slot or its fallback -> ended -> count -> guard broken? --+
//! request that begins, timer                    -> look  -> lease over?              +-> go back, unless the fallback fails
//!                                                        -> somebody died going back? -> finish it
//! ```
//!
//! What is armed, and how exactly one of those who end a trial wins: [`cutover_core::trial`].

use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use cutover_core::event::{Event, Kind};
use cutover_core::guard::{Breach, Figures, Guard, Moment, is_failing_without_guard};
use cutover_core::route::{Reading, Route, SlotId};
use cutover_core::shard::{Outcome, Shard};
use cutover_core::trial::{Deadline, Phase, Terms, Trial, TrialWords};
use ngx::ffi::{NGX_LOG_ALERT, NGX_LOG_ERR, NGX_LOG_WARN, ngx_cached_time, ngx_current_msec, ngx_log_t};

use crate::ext;
use crate::group::Group;
use crate::state::flush::{in_background, routes_in_background};

mod timer;

pub(crate) use timer::{follow as follow_cycle, start as start_timer, wake_by};

/// How far back requests are counted where there is no guard to say so, in milliseconds: enough to know whether a fallback is
/// failing.
const WINDOW_MS: u32 = 10_000;

/// Both clocks, as nginx has read them last.
pub(crate) fn now() -> Deadline {
    // SAFETY: nginx updates both between two events, on this thread.
    let monotonic_ms = unsafe { ngx_current_msec } as u64;
    // SAFETY: as above.
    let time = unsafe { ngx_cached_time };
    // SAFETY: set before any configuration is read.
    let time = unsafe { &*time.cast_const() };
    let wall_ms = u64::try_from(time.sec).unwrap_or(0) * 1000 + time.msec as u64;
    Deadline { monotonic_ms, wall_ms }
}

/// The trial of the route that a reading means; `None`: not on trial, or not completely armed yet.
pub(crate) fn of(group: &Group, reading: Reading) -> Option<(Route, Trial, &TrialWords)> {
    match reading {
        Reading::Set(route) if route.to.armed => {
            let words = group.trial_words()?;
            Some((route, words.read(route)?, words))
        }
        _ => None,
    }
}

/// What the slot on trial, or its fallback, has done in the window that ends now.
pub(crate) fn figures(group: &Group, route: Route, terms: &Terms, slot: SlotId) -> Figures {
    let cell = group.position_of(slot).and_then(|at| group.slots.get(at)?.cell.get());
    let shared = group.shared().zip(cell);
    shared.map(|(shared, cell)| shared.counters.window(cell, moment(route, terms))).unwrap_or_default()
}

fn moment(route: Route, terms: &Terms) -> Moment {
    let window_ms = terms.guard.map_or(WINDOW_MS, |guard| guard.window_ms);
    Moment::new(route.generation, now().monotonic_ms, window_ms)
}

/// Looks after a route that is armed: ends a lease that is over, and finishes what others have begun. The answer is what the
/// route says then.
#[cold]
pub(crate) fn look(group: &Group, log: *mut ngx_log_t) -> Reading {
    let reading = group.reading();
    let Some((route, trial, _)) = of(group, reading) else { return reading };
    match trial.phase {
        Phase::Armed if trial.lease.is_some_and(|lease| lease.left(now().monotonic_ms) == 0) => {
            let figures = figures(group, route, &trial.terms, trial.terms.slot);
            let reason = "not confirmed within its lease".to_owned();
            go_back(group, route, &trial, Phase::Expired, &reason, figures, log);
        }
        Phase::Tripped | Phase::Expired => {
            let figures = figures(group, route, &trial.terms, trial.terms.slot);
            finish(group, route, &trial, trial.phase, "its trial had ended", figures, log);
        }
        Phase::Confirmed => {
            if let Some(word) = group.word() {
                word.disarm(route);
            }
        }
        Phase::Armed | Phase::Held => return reading,
    }
    group.reading()
}

/// Whether a request may follow an armed route without a [`look`].
#[inline]
pub(crate) fn is_quiet(group: &Group, generation: u32) -> bool {
    // SAFETY: nginx updates it between two events, on this thread.
    let now_ms = unsafe { ngx_current_msec } as u64;
    group.trial_words().is_some_and(|words| words.is_quiet(generation, now_ms))
}

/// A request that was given to a slot while the route was on trial has ended there.
///
/// `first_byte_us`: what the first byte took, in microseconds.
// Always: with its seven parameters the call costs a sixth of what it does.
#[inline(always)]
pub(crate) fn ended(
    group: &Group,
    slot: usize,
    shard: &Shard,
    generation: u32,
    outcome: Outcome,
    first_byte_us: Option<u64>,
    log: *mut ngx_log_t,
) {
    let Some(watch) = group.trial_words().and_then(|words| words.watch(generation)) else { return };
    if outcome == Outcome::Aborted {
        return;
    }
    let window_ms = if watch.window_ms == 0 { WINDOW_MS } else { watch.window_ms };
    // SAFETY: nginx updates it between two events, on this thread.
    let at = Moment::new(generation, unsafe { ngx_current_msec } as u64, window_ms);
    let (error, slow) = (outcome.is_error(), first_byte_us.is_some_and(|took| took > watch.slow_us));
    shard.window.count(at, error, slow);
    if error || slow {
        group.has_seen_bad(generation);
    }
    // As long as this process has seen nothing bad, it leaves the judging to those that have.
    if watch.window_ms != 0 && group.bad_was_seen(generation) && group.position_of(watch.slot) == Some(slot) {
        judge(group, generation, log);
    }
}

#[cold]
fn judge(group: &Group, generation: u32, log: *mut ngx_log_t) {
    let Some((route, trial, _)) = of(group, group.reading()) else { return };
    let (Some(guard), Phase::Armed) = (trial.terms.guard, trial.phase) else { return };
    if route.generation != generation {
        return;
    }
    let figures = figures(group, route, &trial.terms, trial.terms.slot);
    if let Some(breach) = guard.judge(&figures) {
        let reason = reason(&guard, breach, &figures);
        go_back(group, route, &trial, Phase::Tripped, &reason, figures, log);
    }
}

fn reason(guard: &Guard, breach: Breach, figures: &Figures) -> String {
    let (part, limit, what) = match breach {
        Breach::Errors => (figures.errors, guard.max_error_ratio, "failed".to_owned()),
        Breach::Slow => {
            (figures.slow, guard.max_slow_ratio, format!("took longer than {} ms", guard.slow_ms))
        }
    };
    let percent = 100.0 * part as f64 / figures.requests.max(1) as f64;
    let limit = limit.map_or(0.0, |limit| f64::from(limit.parts()) / 100.0);
    format!("{part} of {} requests {what}: {percent:.2} %, the limit is {limit} %", figures.requests)
}

/// Ends the trial, and takes the traffic back unless the fallback is failing too, or gone.
fn go_back(
    group: &Group,
    route: Route,
    trial: &Trial,
    phase: Phase,
    reason: &str,
    figures: Figures,
    log: *mut ngx_log_t,
) {
    let Some(words) = group.trial_words() else { return };
    let fallback = trial.terms.fallback;
    if group.position_of(fallback).is_none() && group.is_configured(fallback) {
        // A worker of a configuration before: it cannot tell how the slot is doing. Those that know it will look.
        return;
    }
    match why_not(group, route, &trial.terms) {
        Some(obstacle) => {
            if words.end(trial, Phase::Held) {
                hold(group, route, trial, phase, &format!("{reason}; {obstacle}"), figures, log);
            }
        }
        None => {
            if words.end(trial, phase) {
                finish(group, route, trial, phase, reason, figures, log);
            }
        }
    }
}

fn why_not(group: &Group, route: Route, terms: &Terms) -> Option<String> {
    let name = group.name_of(terms.fallback);
    if !group.is_configured(terms.fallback) {
        return Some("the slot to go back to is no longer configured".to_owned());
    }
    let fallback = figures(group, route, terms, terms.fallback);
    let failing = match terms.guard {
        Some(guard) => guard.is_failing(&fallback),
        None => is_failing_without_guard(&fallback),
    };
    failing.then(|| {
        format!("slot \"{name}\" is failing too: {} of {} requests", fallback.errors, fallback.requests)
    })
}

fn hold(
    group: &Group,
    route: Route,
    trial: &Trial,
    wanted: Phase,
    reason: &str,
    figures: Figures,
    log: *mut ngx_log_t,
) {
    let slot = group.name_of(trial.terms.slot);
    ext::log(
        NGX_LOG_ALERT,
        log,
        format_args!(
            "cutover: group \"{}\" stays on \"{slot}\", generation {}: {reason}; look at both slots, then switch or confirm",
            group.name, route.generation
        ),
    );
    record(group, Kind::Held, slot, slot, route.generation, who(wanted), reason, Some(figures), log);
}

/// The trial has ended: the route goes back, if nobody else has moved it meanwhile.
fn finish(
    group: &Group,
    route: Route,
    trial: &Trial,
    phase: Phase,
    reason: &str,
    figures: Figures,
    log: *mut ngx_log_t,
) {
    let Some(word) = group.word() else { return };
    let Ok(back) = word.switch(Reading::Set(route), Some(route.to.active), trial.terms.way_back()) else {
        return;
    };
    let (from, to) = (group.name_of(trial.terms.slot), group.name_of(trial.terms.fallback));
    let kind = if phase == Phase::Expired { Kind::Lease } else { Kind::Guard };
    ext::log(
        NGX_LOG_WARN,
        log,
        format_args!(
            "cutover: group \"{}\" went back from \"{from}\" to \"{to}\", generation {}, by the {}, reason: {reason}",
            group.name,
            back.generation,
            who(phase)
        ),
    );
    record(group, kind, from, to, back.generation, who(phase), reason, Some(figures), log);
    flush(group);
}

/// Nobody has asked for the change, so nobody waits until it is on disk.
pub(crate) fn flush(group: &Group) {
    if let Some(shared) = group.shared() {
        routes_in_background(shared.routes_file());
        in_background(shared.events.file());
    }
}

fn who(phase: Phase) -> &'static str {
    if phase == Phase::Expired { "lease" } else { "guard" }
}

/// A change that nobody lived to arm, and so nobody was told of: it goes back to where the traffic was.
fn take_back_unfinished(group: &Group, route: Route, log: *mut ngx_log_t) {
    let Some(word) = group.word() else { return };
    let Some(before) = word.before(route).filter(|before| group.is_configured(*before)) else { return };
    if !group.trial_words().is_some_and(|words| words.give_up(route)) {
        return;
    }
    let Ok(back) = word.switch(Reading::Set(route), Some(route.to.active), before.into()) else { return };
    let (from, to) = (group.name_of(route.to.active), group.name_of(before));
    let reason = "whoever switched died before the trial was armed, and before it was acknowledged";
    ext::log(
        NGX_LOG_WARN,
        log,
        format_args!(
            "cutover: group \"{}\" went back from \"{from}\" to \"{to}\", generation {}: {reason}",
            group.name, back.generation
        ),
    );
    record(group, Kind::TakenBack, from, to, back.generation, "nginx", reason, None, log);
    flush(group);
}

/// Whether a route is armed, but its trial never was.
fn is_unfinished(group: &Group, route: Route) -> bool {
    route.to.armed && group.trial_words().is_some_and(|words| words.read(route).is_none())
}

/// A configuration begins to run, and no worker does yet: what the ones before have left is put in order.
pub(crate) fn begin(group: &Group, boot: u16, fresh: bool, log: *mut ngx_log_t) {
    let Reading::Set(route) = group.reading() else { return };
    if fresh && is_unfinished(group, route) {
        take_back_unfinished(group, route, log);
    } else if let Some(words) = group.trial_words().filter(|_| route.to.armed) {
        // Not only at a start: the group may come with a reload. Words of another boot are in nobody's use.
        words.rebase(route, boot, now());
    }
}

/// Tells one run of the system from another: half of a hash of the kernel's own id. The master reads it, workers inherit it:
/// no file is read between the store of a route and the arming of its trial.
pub(crate) fn boot() -> u16 {
    static BOOT: OnceLock<u16> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let id = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        id.iter().fold(1u16, |hash, byte| hash.wrapping_mul(31).wrapping_add(u16::from(*byte)))
    })
}

/// Writes an event of the group.
#[expect(clippy::too_many_arguments, reason = "the parts of one record")]
pub(crate) fn record(
    group: &Group,
    kind: Kind,
    from: &str,
    to: &str,
    generation: u32,
    who: &str,
    reason: &str,
    figures: Option<Figures>,
    log: *mut ngx_log_t,
) {
    write_event(
        group,
        Event {
            number: 0,
            unix_ms: now().wall_ms,
            kind,
            from: from.to_owned(),
            to: to.to_owned(),
            percent: None,
            generation,
            who: who.to_owned(),
            reason: reason.to_owned(),
            figures,
        },
        log,
    );
}

/// Writes an event of the group; its number is given there.
pub(crate) fn write_event(group: &Group, event: Event, log: *mut ngx_log_t) {
    let Some(shared) = group.shared() else { return };
    let Some(count) = shared.counters.events(group.record.get()) else { return };
    if let Err(error) = shared.events.append(group, count, event) {
        ext::log(
            NGX_LOG_ERR,
            log,
            format_args!("cutover: an event of group \"{}\" was not written: {error}", group.name),
        );
    }
}

/// A trial has begun: every worker shall look after it.
pub(crate) fn announce(group: &Group) {
    if let Some(changes) = group.shared().and_then(|shared| shared.counters.changes()) {
        changes.fetch_add(1, Ordering::AcqRel);
    }
}
