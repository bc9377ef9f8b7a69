//! A change on trial: what is armed with it, and how the trial ends.
//!
//! The trial of a group is in a few words beside its route word, see [`TrialWords`]. Guard, lease and `confirm` each try to end
//! it, and exactly one of them does.

use crate::guard::Guard;
use crate::route::Destination;
use crate::slot::SlotId;

mod encoding;
mod words;

pub use words::TrialWords;

/// The shortest lease, in milliseconds.
pub const MIN_LEASE_MS: u32 = 100;
/// The longest lease, in milliseconds: a day.
pub const MAX_LEASE_MS: u32 = 86_400_000;

/// What is armed with a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The slot on trial: the one that the change gives traffic to.
    pub slot: SlotId,
    /// The slot that takes all traffic back.
    pub fallback: SlotId,
    /// When the workers take the traffic back because of what the slot answers.
    pub guard: Option<Guard>,
    /// Whether failed attempts on the slot are tried again on the fallback.
    pub rescue: bool,
}

impl Terms {
    /// Where the route goes when the trial fails.
    pub fn way_back(&self) -> Destination {
        self.fallback.into()
    }
}

/// When a lease ends, by two clocks: the monotonic one decides, the other one is for after a reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// Milliseconds of the system's monotonic clock.
    pub monotonic_ms: u64,
    /// Milliseconds since 1970.
    pub wall_ms: u64,
}

impl Deadline {
    /// `lease_ms` from now.
    pub fn after(now: Deadline, lease_ms: u32) -> Self {
        Self {
            monotonic_ms: now.monotonic_ms + u64::from(lease_ms),
            wall_ms: now.wall_ms + u64::from(lease_ms),
        }
    }

    /// Milliseconds until then; 0 when it has passed.
    pub fn left(&self, now_monotonic_ms: u64) -> u64 {
        self.monotonic_ms.saturating_sub(now_monotonic_ms)
    }

    /// The same moment for a clock that has begun anew. No longer off than the longest lease: the other clock may be wrong.
    fn rebased(&self, now: Deadline) -> Self {
        let left = self.wall_ms.saturating_sub(now.wall_ms).min(u64::from(MAX_LEASE_MS));
        Self { monotonic_ms: now.monotonic_ms + left, ..*self }
    }
}

/// How far a trial has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Guard, lease and rescue are at work. Left by any of the others.
    Armed,
    /// The change was confirmed: it stays.
    Confirmed,
    /// The guard has seen enough: the route goes back.
    Tripped,
    /// The lease ran out: the route goes back.
    Expired,
    /// The guard or the lease wanted to go back, but the fallback was failing too: the route stays, and a human must look.
    Held,
}

impl Stage {
    /// Whether the route of a trial in this stage has to go back.
    pub fn goes_back(self) -> bool {
        matches!(self, Self::Tripped | Self::Expired)
    }
}

/// A trial as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    word: u64,
    /// How far it has come.
    pub stage: Stage,
    /// What is armed.
    pub terms: Terms,
    /// When the lease ends, if there is one.
    pub lease: Option<Deadline>,
}

/// What is needed to count one request of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The slot on trial.
    pub slot: SlotId,
    /// How far back the guard looks, in milliseconds; 0: there is no guard.
    pub window_ms: u32,
    /// A first byte after more microseconds than this is slow.
    pub slow_us: u64,
}

/// Where a request goes that a slot has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rescue {
    /// The slot on trial.
    pub from: SlotId,
    /// The fallback.
    pub to: SlotId,
}
