//! A change on trial, at run time: guard and lease take the traffic back, in the worker that finds out first.
//!
//! ```text
//! request that ends on the slot or its fallback -> Ended::count -> guard broken? --+
//! request that begins, timer                    -> look  -> lease over?            +-> go_back, unless the fallback fails
//!                                                        -> trial has ended?        -> finish: its process may have died
//! ```
//!
//! What is armed, and why exactly one process ends a trial: [`cutover_core::trial`].

use cutover_core::guard::{Breach, Figures, Guard, Moment};
use cutover_core::route::{Reading, Route};
use cutover_core::shard::{RequestEnd, Shard};
use cutover_core::trial::Stage;
use ngx::ffi::ngx_log_t;

use crate::clock;
use crate::group::Group;

mod going_back;
mod on_trial;
mod timer;

pub(crate) use on_trial::{OnTrial, of};
pub(crate) use timer::{follow as follow_cycle, start as start_timer, wake_by};

use going_back::{Failed, take_back_unfinished};
use on_trial::WINDOW_MS;

/// Looks after a route that is armed: ends a lease that is over, and finishes what other processes have begun. Returns what the
/// route says afterwards.
#[cold]
pub(crate) fn look(group: &Group, log: *mut ngx_log_t) -> Reading {
    let reading = group.reading();
    let Some(on_trial) = of(group, reading) else { return reading };
    let OnTrial { route, trial, .. } = on_trial;
    let failed =
        |stage, reason: &str| Failed { stage, reason: reason.to_owned(), figures: on_trial.figures() };
    match trial.stage {
        Stage::Armed if trial.lease.is_some_and(|lease| lease.left(clock::monotonic_ms()) == 0) => {
            on_trial.go_back(&failed(Stage::Expired, "not confirmed within its lease"), log);
        }
        Stage::Tripped | Stage::Expired => {
            on_trial.finish(&failed(trial.stage, "its trial had ended"), log);
        }
        Stage::Confirmed => {
            if let Some(word) = group.word() {
                word.disarm(route);
            }
        }
        Stage::Armed | Stage::Held => return reading,
    }
    group.reading()
}

/// Whether a request may follow an armed route without a [`look`].
#[inline]
pub(crate) fn is_quiet(group: &Group, generation: u32) -> bool {
    let now_ms = clock::monotonic_ms();
    group.trial_words().is_some_and(|words| words.is_quiet(generation, now_ms))
}

/// A request that was given to a slot while the route was on trial, and has ended there.
pub(crate) struct Ended<'a> {
    pub(crate) group: &'a Group,
    pub(crate) slot: usize,
    pub(crate) shard: &'a Shard,
    /// The route's generation when the slot was chosen.
    pub(crate) generation: u32,
    pub(crate) end: RequestEnd,
    /// How long the first byte took, in microseconds.
    pub(crate) first_byte_us: Option<u64>,
    pub(crate) log: *mut ngx_log_t,
}

impl Ended<'_> {
    /// Counts it for the trial, and judges the trial by it.
    // Always: with its seven parts the call costs a sixth of what it does.
    #[inline(always)]
    pub(crate) fn count(self) {
        let Self { group, slot, shard, generation, end, first_byte_us, log } = self;
        let Some(watch) = group.trial_words().and_then(|words| words.watch(generation)) else { return };
        if end == RequestEnd::Aborted {
            return;
        }
        let window_ms = if watch.window_ms == 0 { WINDOW_MS } else { watch.window_ms };
        let at = Moment::new(generation, clock::monotonic_ms(), window_ms);
        let (error, slow) = (end.is_error(), first_byte_us.is_some_and(|took| took > watch.slow_us));
        shard.window.count(at, error, slow);
        if error || slow {
            group.has_seen_bad(generation);
        }
        // As long as this process has seen nothing bad, it leaves the judging to those that have.
        if watch.window_ms != 0
            && group.bad_was_seen(generation)
            && group.position_of(watch.slot) == Some(slot)
        {
            judge(group, generation, log);
        }
    }
}

#[cold]
fn judge(group: &Group, generation: u32, log: *mut ngx_log_t) {
    let Some(on_trial) = of(group, group.reading()) else { return };
    let (Some(guard), Stage::Armed) = (on_trial.terms().guard, on_trial.trial.stage) else { return };
    if on_trial.route.generation != generation {
        return;
    }
    let figures = on_trial.figures();
    if let Some(breach) = guard.judge(&figures) {
        let reason = reason(&guard, breach, &figures);
        on_trial.go_back(&Failed { stage: Stage::Tripped, reason, figures }, log);
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

/// Puts in order what earlier processes have left: a configuration begins to run, and no worker does yet. `fresh`: no other
/// process uses the state file.
pub(crate) fn begin(group: &Group, boot: u16, fresh: bool, log: *mut ngx_log_t) {
    let Reading::Set(route) = group.reading() else { return };
    if fresh && is_unfinished(group, route) {
        take_back_unfinished(group, route, log);
    } else if let Some(words) = group.trial_words().filter(|_| route.to.armed) {
        // Not only at a start: the group may come with a reload. No process uses words of another boot.
        words.rebase(route, boot, clock::now());
    }
}

/// Whether a route is armed, but its trial never was.
fn is_unfinished(group: &Group, route: Route) -> bool {
    route.to.armed && group.trial_words().is_some_and(|words| words.read(route).is_none())
}
