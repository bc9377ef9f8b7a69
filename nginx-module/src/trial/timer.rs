//! One timer in each worker that looks after the trials.
//!
//! It looks once a second whether trials have begun, and is set for the end of the next lease that it knows of. Every worker has
//! one, because a worker may be killed.

use std::cell::{Cell, RefCell};
use std::ptr;

use cutover_core::route::Reading;
use cutover_core::trial::Stage;
use ngx::ffi::{ngx_event_t, ngx_log_t};

use super::going_back::take_back_unfinished;
use super::look;
use super::on_trial::of;
use crate::clock;
use crate::ext;
use crate::group::Group;
use crate::layout::bits;

/// How often a worker looks whether there is a new trial, in milliseconds.
const TICK_MS: u64 = 1000;

/// How often it looks at all groups, also when no trial was announced, in milliseconds: the worker that should have announced it
/// may have been killed.
const LOOK_AT_ALL_MS: u64 = 10_000;

/// The worker's timer. nginx is single-threaded; what is here belongs to the cycle that the worker serves.
struct Timer {
    event: Cell<*mut ngx_event_t>,
    /// They live as long as their cycle.
    groups: Cell<*const [Box<Group>]>,
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
        groups: Cell::new(ptr::slice_from_raw_parts(ptr::null(), 0)),
        seen: Cell::new(None),
        looked_ms: Cell::new(0),
        watched: RefCell::new(Vec::new()),
    } };
}

/// Starts it, in a worker, for the groups of the cycle that this process serves.
pub(crate) fn start(groups: &[Box<Group>], log: *mut ngx_log_t) {
    let event = ext::event(tick, log);
    // A worker that shuts down does not wait for it.
    // SAFETY: made just now.
    bits::ngx_event_t::CANCELABLE.set(unsafe { &mut *event }, true);
    TIMER.with(|timer| timer.event.set(event));
    follow(groups, log);
}

/// The same process serves another cycle from now on (`master_process off`). Nothing happens where no timer was started.
pub(crate) fn follow(groups: &[Box<Group>], log: *mut ngx_log_t) {
    TIMER.with(|timer| {
        // SAFETY: null, or an event that is never freed.
        let Some(event) = (unsafe { timer.event.get().as_mut() }) else { return };
        event.log = log;
        timer.groups.set(groups);
        timer.seen.set(None);
        wake(timer, 1);
    });
}

/// Wakes this worker by the end of a lease, by the monotonic clock.
pub(crate) fn wake_by(deadline_ms: u64) {
    let left = deadline_ms.saturating_sub(clock::monotonic_ms());
    TIMER.with(|timer| wake(timer, left.clamp(1, TICK_MS)));
}

fn wake(timer: &Timer, after_ms: u64) {
    // SAFETY: null, or an event of this process that is never freed.
    if let Some(event) = unsafe { timer.event.get().as_mut() } {
        ext::set_timer(event, after_ms as usize);
    }
}

unsafe extern "C" fn tick(event: *mut ngx_event_t) {
    // SAFETY: nginx passes the event whose handler this is.
    let log = unsafe { (*event).log };
    TIMER.with(|timer| {
        // SAFETY: null, or the groups of the cycle that this process serves now.
        let Some(groups) = (unsafe { timer.groups.get().as_ref() }) else { return };
        let next = look_at_all(timer, groups, log);
        wake(timer, next);
    });
}

/// Milliseconds until the next look.
fn look_at_all(timer: &Timer, groups: &[Box<Group>], log: *mut ngx_log_t) -> u64 {
    let mut watched = timer.watched.borrow_mut();
    let changes = groups.first().and_then(|group| group.memory()?.memfd.changes());
    let changes = changes.map(|changes| changes.load(std::sync::atomic::Ordering::Acquire));
    let now_ms = clock::monotonic_ms();
    let announced = timer.seen.replace(changes) != changes;
    if announced || now_ms.saturating_sub(timer.looked_ms.get()) >= LOOK_AT_ALL_MS {
        timer.looked_ms.set(now_ms);
        let before = std::mem::replace(&mut *watched, armed(groups));
        // What was found unfinished before is not found for the first time.
        for group in watched.iter_mut() {
            let known = before.iter().find(|known| known.group == group.group);
            group.unfinished = known.and_then(|known| known.unfinished);
        }
    }
    let mut next = TICK_MS;
    watched.retain_mut(|watched| {
        let Some(group) = groups.get(watched.group) else { return false };
        look_at(group, watched, &mut next, log)
    });
    next
}

fn armed(groups: &[Box<Group>]) -> Vec<Watched> {
    let armed = |group: &Group| matches!(group.reading(), Reading::Set(route) if route.to.armed);
    let groups = groups.iter().enumerate().filter(|(_, group)| armed(group));
    groups.map(|(group, _)| Watched { group, unfinished: None }).collect()
}

/// Looks after one group. `false`: it needs no more looks.
fn look_at(group: &Group, watched: &mut Watched, next: &mut u64, log: *mut ngx_log_t) -> bool {
    let reading = look(group, log);
    let Reading::Set(route) = reading else { return false };
    if !route.to.armed {
        return false;
    }
    match of(group, reading) {
        Some(on_trial) => {
            if let (Stage::Armed, Some(lease)) = (on_trial.trial.stage, on_trial.trial.lease) {
                *next = (*next).min(lease.left(clock::monotonic_ms()).max(1));
            }
            watched.unfinished = None;
        }
        // At the first look a worker may still be arming it; at the second one, a second later, that worker has died.
        None => match watched.unfinished {
            Some((generation, since_ms)) if generation == route.generation => {
                if clock::monotonic_ms().saturating_sub(since_ms) >= TICK_MS {
                    take_back_unfinished(group, route, log);
                }
            }
            _ => watched.unfinished = Some((route.generation, clock::monotonic_ms())),
        },
    }
    true
}
