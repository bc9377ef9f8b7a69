//! The clock of the trials: one timer in each worker.
//!
//! It looks once a second whether trials have begun anywhere, and is set for the end of the next lease that it knows of. Every
//! worker does: one of them may be killed.

use std::cell::{Cell, RefCell};
use std::ptr;

use cutover_core::route::Reading;
use cutover_core::trial::Phase;
use ngx::ffi::{ngx_cycle_t, ngx_event_t, ngx_log_t};

use crate::conf::{self, Main};
use crate::ext;
use crate::group::Group;
use crate::layout::bits;

/// How often a worker looks whether there is a new trial, in milliseconds.
const TICK_MS: u64 = 1000;

/// How often it looks at all groups, whether or not somebody has told of a trial, in milliseconds: whoever should have may
/// have been killed before.
const LOOK_AT_ALL_MS: u64 = 10_000;

/// The worker's timer. nginx is single-threaded; what is here belongs to the cycle that the worker serves.
struct Timer {
    event: Cell<*mut ngx_event_t>,
    groups: Cell<*const Main>,
    seen: Cell<Option<u32>>,
    /// When all groups were looked at last.
    looked_ms: Cell<u64>,
    watched: RefCell<Vec<Watched>>,
}

struct Watched {
    /// Position in the configuration.
    group: usize,
    /// The generation that was found armed without a trial, and when first, by the monotonic clock.
    unfinished: Option<(u32, u64)>,
}

thread_local! {
    static TIMER: Timer = const { Timer {
        event: Cell::new(ptr::null_mut()),
        groups: Cell::new(ptr::null()),
        seen: Cell::new(None),
        looked_ms: Cell::new(0),
        watched: RefCell::new(Vec::new()),
    } };
}

/// Starts it, in a worker.
pub(crate) fn start(cycle: &ngx_cycle_t) {
    let event = ext::event(tick, cycle.log);
    // A worker that shuts down does not wait for it.
    // SAFETY: made just now.
    bits::ngx_event_t::CANCELABLE.set(unsafe { &mut *event }, true);
    TIMER.with(|timer| timer.event.set(event));
    follow(cycle);
}

/// The same process serves another cycle from now on (`master_process off`). Nothing happens where no timer was started.
pub(crate) fn follow(cycle: &ngx_cycle_t) {
    TIMER.with(|timer| {
        // SAFETY: null, or an event that is never freed.
        let Some(event) = (unsafe { timer.event.get().as_mut() }) else { return };
        event.log = cycle.log;
        timer.groups.set(conf::main_of_cycle(cycle).map_or(ptr::null(), ptr::from_ref));
        timer.seen.set(None);
        wake(timer, 1);
    });
}

/// A lease ends then, by the monotonic clock: sooner than this worker may know by itself.
pub(crate) fn wake_by(deadline_ms: u64) {
    let left = deadline_ms.saturating_sub(super::now().monotonic_ms);
    TIMER.with(|timer| wake(timer, left.clamp(1, TICK_MS)));
}

fn wake(timer: &Timer, after_ms: u64) {
    // SAFETY: null, or an event of this process that is never freed.
    if let Some(event) = unsafe { timer.event.get().as_mut() } {
        ext::wake(event, after_ms as usize);
    }
}

unsafe extern "C" fn tick(event: *mut ngx_event_t) {
    // SAFETY: nginx passes the event whose handler this is.
    let log = unsafe { (*event).log };
    TIMER.with(|timer| {
        // SAFETY: the configuration of the cycle that this process serves now.
        let Some(main) = (unsafe { timer.groups.get().as_ref() }) else { return };
        let next = look_at_all(timer, main, log);
        wake(timer, next);
    });
}

/// Milliseconds until the next look.
fn look_at_all(timer: &Timer, main: &Main, log: *mut ngx_log_t) -> u64 {
    let mut watched = timer.watched.borrow_mut();
    let changes = main.groups.first().and_then(|group| group.shared()?.counters.changes());
    let changes = changes.map(|changes| changes.load(std::sync::atomic::Ordering::Acquire));
    let now_ms = super::now().monotonic_ms;
    let told = timer.seen.replace(changes) != changes;
    if told || now_ms.saturating_sub(timer.looked_ms.get()) >= LOOK_AT_ALL_MS {
        timer.looked_ms.set(now_ms);
        let before = std::mem::replace(&mut *watched, armed(main));
        // What was found unfinished before is not found for the first time.
        for group in watched.iter_mut() {
            let known = before.iter().find(|known| known.group == group.group);
            group.unfinished = known.and_then(|known| known.unfinished);
        }
    }
    let mut next = TICK_MS;
    watched.retain_mut(|watched| {
        let Some(group) = main.groups.get(watched.group) else { return false };
        look_at(group, watched, &mut next, log)
    });
    next
}

fn armed(main: &Main) -> Vec<Watched> {
    let armed = |group: &Group| matches!(group.reading(), Reading::Set(route) if route.to.armed);
    let groups = main.groups.iter().enumerate().filter(|(_, group)| armed(group));
    groups.map(|(group, _)| Watched { group, unfinished: None }).collect()
}

/// Whether the group needs looking after any more.
fn look_at(group: &Group, watched: &mut Watched, next: &mut u64, log: *mut ngx_log_t) -> bool {
    let reading = super::look(group, log);
    let Reading::Set(route) = reading else { return false };
    if !route.to.armed {
        return false;
    }
    match super::of(group, reading) {
        Some((_, trial, _)) => {
            if let (Phase::Armed, Some(lease)) = (trial.phase, trial.lease) {
                *next = (*next).min(lease.left(super::now().monotonic_ms).max(1));
            }
            watched.unfinished = None;
        }
        // Once is somebody at work; twice, a second apart, is somebody who died at it.
        None => match watched.unfinished {
            Some((generation, since_ms)) if generation == route.generation => {
                if super::now().monotonic_ms.saturating_sub(since_ms) >= TICK_MS {
                    super::take_back_unfinished(group, route, log);
                }
            }
            _ => watched.unfinished = Some((route.generation, super::now().monotonic_ms)),
        },
    }
    true
}
