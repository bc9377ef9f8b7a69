//! The guard: when what a slot answers is bad enough to take the traffic back.
//!
//! It judges the last `window_ms` of the slot on trial. Each process counts in a [`Window`] of its own. A process in which a
//! request has ended badly sums them all.

use serde::{Deserialize, Serialize};

use crate::fraction::Fraction;
use crate::sync::{AtomicU64, Ordering::Relaxed};

/// Limits that are armed with a change. As long as at least one ratio is given, the slot on trial is judged by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Fewer finished requests in the window are no verdict.
    pub min_requests: u32,
    /// More errors than this take the traffic back.
    pub max_error_ratio: Option<Fraction>,
    /// More slow requests than this take the traffic back.
    pub max_slow_ratio: Option<Fraction>,
    /// What is slow: the time to the first byte, in milliseconds.
    pub slow_ms: u32,
    /// How far back the guard looks, in milliseconds.
    pub window_ms: u32,
}

impl Guard {
    /// The largest `min_requests`.
    pub const MAX_REQUESTS: u32 = (1 << 20) - 1;
    /// The largest `slow_ms` and `window_ms`: an hour.
    pub const MAX_MS: u32 = 3_600_000;
    /// The smallest `window_ms`.
    pub const MIN_WINDOW_MS: u32 = 100;
    /// No guard.
    pub(crate) const OFF: Self =
        Self { min_requests: 0, max_error_ratio: None, max_slow_ratio: None, slow_ms: 0, window_ms: 0 };

    /// Why these figures break a limit, if they do.
    pub fn judge(&self, figures: &Figures) -> Option<Breach> {
        if figures.requests < u64::from(self.min_requests) {
            return None;
        }
        let over = |limit: Option<Fraction>, part| {
            limit.is_some_and(|limit| limit.is_exceeded(part, figures.requests))
        };
        if over(self.max_error_ratio, figures.errors) {
            Some(Breach::Errors)
        } else if over(self.max_slow_ratio, figures.slow) {
            Some(Breach::Slow)
        } else {
            None
        }
    }

    /// Whether a slot that is to take the traffic back is failing itself: by the guard's own limit, or by a half if the guard only
    /// looks at slowness. Few requests say nothing.
    pub fn is_failing(&self, fallback: &Figures) -> bool {
        let limit = self.max_error_ratio.unwrap_or(Fraction::HALF);
        is_failing(fallback, limit)
    }
}

/// Requests that the fallback must have finished in the window before it can be called failing.
const MIN_FALLBACK_REQUESTS: u64 = 3;

/// As [`Guard::is_failing`], where there is no guard.
pub fn is_failing_without_guard(fallback: &Figures) -> bool {
    is_failing(fallback, Fraction::HALF)
}

fn is_failing(figures: &Figures, limit: Fraction) -> bool {
    figures.requests >= MIN_FALLBACK_REQUESTS && limit.is_exceeded(figures.errors, figures.requests)
}

/// Which limit was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// `max_error_ratio`.
    Errors,
    /// `max_slow_ratio`.
    Slow,
}

/// What a slot did in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Requests that ended there, rescued ones included.
    pub requests: u64,
    /// Of these: 5xx answers, cut-off answers, and requests that had to be rescued.
    pub errors: u64,
    /// Of these: the first byte took longer than `slow_ms`.
    pub slow: u64,
}

/// A moment as windows see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    generation: u32,
    epoch: u32,
}

impl Moment {
    /// `now_ms` by any clock that all processes share; windows of another generation or another length do not count.
    pub fn new(generation: u32, now_ms: u64, window_ms: u32) -> Self {
        let part = u64::from(window_ms / PARTS as u32).max(1);
        Self { generation, epoch: (now_ms / part) as u32 }
    }

    fn stamp(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.epoch)
    }
}

/// Parts of a window: the oldest is dropped as a whole.
const PARTS: usize = 8;

/// One process's view of the last requests of a slot; written by that process only.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Window([Part; PARTS]);

#[repr(C)]
#[derive(Debug, Default)]
struct Part {
    /// Generation and epoch that the rest belongs to.
    stamp: AtomicU64,
    /// Requests 32 | errors 32.
    ended: AtomicU64,
    slow: AtomicU64,
}

impl Window {
    /// A request has ended.
    pub fn count(&self, at: Moment, error: bool, slow: bool) {
        let Some(part) = self.0.get(at.epoch as usize % PARTS) else { return };
        if part.stamp.load(Relaxed) != at.stamp() {
            // A reader may see the new stamp with less than was counted, never with more.
            part.stamp.store(0, Relaxed);
            part.ended.store(0, crate::sync::Ordering::Release);
            part.slow.store(0, crate::sync::Ordering::Release);
            part.stamp.store(at.stamp(), crate::sync::Ordering::Release);
        }
        let ended = part.ended.load(Relaxed) + (1 << 32) + u64::from(error);
        part.ended.store(ended, crate::sync::Ordering::Release);
        if slow {
            part.slow.store(part.slow.load(Relaxed) + 1, crate::sync::Ordering::Release);
        }
    }

    /// Adds what happened in the window that ends now.
    pub fn add_to(&self, sum: &mut Figures, at: Moment) {
        for part in &self.0 {
            let stamp = part.stamp.load(crate::sync::Ordering::Acquire);
            let (generation, epoch) = ((stamp >> 32) as u32, stamp as u32);
            if generation != at.generation || at.epoch.wrapping_sub(epoch) >= PARTS as u32 {
                continue;
            }
            // In the opposite order of counting: each slow request that is seen is among the requests.
            let slow = part.slow.load(crate::sync::Ordering::Acquire);
            let ended = part.ended.load(crate::sync::Ordering::Acquire);
            // Begun anew meanwhile: the next look will count it.
            if part.stamp.load(crate::sync::Ordering::Acquire) == stamp {
                sum.requests += ended >> 32;
                sum.errors += ended & 0xffff_ffff;
                sum.slow += slow;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(errors: u16, slow: Option<u16>) -> Guard {
        Guard {
            min_requests: 10,
            max_error_ratio: Fraction::from_parts(errors),
            max_slow_ratio: slow.and_then(Fraction::from_parts),
            slow_ms: 100,
            window_ms: 800,
        }
    }

    fn figures(requests: u64, errors: u64, slow: u64) -> Figures {
        Figures { requests, errors, slow }
    }

    #[test]
    fn verdicts() {
        let cases = [
            (guard(500, None), figures(9, 9, 9), None),
            (guard(500, None), figures(10, 1, 9), Some(Breach::Errors)),
            (guard(1000, None), figures(10, 1, 9), None),
            (guard(1000, Some(5000)), figures(10, 1, 5), None),
            (guard(1000, Some(5000)), figures(10, 1, 6), Some(Breach::Slow)),
            (guard(0, None), figures(1_000_000, 1, 0), Some(Breach::Errors)),
            (guard(10_000, None), figures(10, 10, 10), None),
        ];
        for (guard, figures, verdict) in cases {
            assert_eq!(guard.judge(&figures), verdict, "{guard:?} {figures:?}");
        }
    }

    #[test]
    fn few_requests_do_not_make_a_fallback_failing() {
        assert!(!guard(100, None).is_failing(&figures(0, 0, 0)));
        assert!(!guard(100, None).is_failing(&figures(2, 2, 0)));
        assert!(guard(100, None).is_failing(&figures(3, 1, 0)));
        assert!(!is_failing_without_guard(&figures(4, 2, 0)));
        assert!(is_failing_without_guard(&figures(4, 3, 0)));
    }

    #[test]
    fn a_window_forgets_what_is_older() {
        let window = Window::default();
        let sum = |now| {
            let mut sum = Figures::default();
            window.add_to(&mut sum, Moment::new(1, now, 800));
            sum
        };
        window.count(Moment::new(1, 0, 800), true, false);
        window.count(Moment::new(1, 450, 800), false, true);
        assert_eq!(sum(450), figures(2, 1, 1));
        assert_eq!(sum(799), figures(2, 1, 1));
        assert_eq!(sum(800), figures(1, 0, 1), "the first part is out");
        assert_eq!(sum(5_000), figures(0, 0, 0));
        window.count(Moment::new(1, 5_250, 800), true, true);
        assert_eq!(sum(5_250), figures(1, 1, 1), "parts are used anew");
    }

    #[test]
    fn a_window_of_another_generation_counts_nothing() {
        let window = Window::default();
        window.count(Moment::new(1, 0, 800), true, true);
        let mut sum = Figures::default();
        window.add_to(&mut sum, Moment::new(2, 0, 800));
        assert_eq!(sum, Figures::default());
        window.count(Moment::new(2, 0, 800), false, false);
        window.add_to(&mut sum, Moment::new(2, 0, 800));
        assert_eq!(sum, figures(1, 0, 0));
    }
}
