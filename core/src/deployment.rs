//! One deployment as a pure function: from a state, an event and the time to the next state.
//!
//! ```text
//! migrating -> provisioning -> probing -> smoking -> switching -> soaking -> draining -> warm -> decommissioning -> completed
//!     |             |             |          |           |           |          |         |
//!     +-------------+-------------+----------+-----------+           +----------+---------+ operator
//!                                 |                                  |
//!                 tearing_down: revert, stop new         rolling_back: verify old, switch back,
//!                                 |                      drain new, revert, stop new
//!                              failed                                |
//!                       (no traffic moved)                      rolled_back
//!
//!              whatever cannot be done: stuck, with the next command to type
//! ```
//!
//! Rules that hold for every walk, and that the tests check over random ones:
//!
//! - Traffic is never moved forward before the smoke test has passed, and never back before the old slot was verified.
//! - A database is reverted only when `migrate` of this very deployment has succeeded: after a failed one nobody knows what a
//!   revert would take away. Nor is it reverted out of the warm window: by then users have written what it would drop.
//! - A soak that saw too little is no reason to leave the only version that runs: without a healthy old slot it goes on.
//! - If somebody else moves the route, the deployment ends where it stands: as failed before the switch, as stuck after it. If the
//!   edge takes the traffic back by itself, the rest of the rollback follows.
//! - Each step back is tried a bounded number of times, so every walk ends.
//!
//! The journal keeps the state. The phase says what the driver does next, and a restarted daemon does that again: what a driver
//! does in a phase must be idempotent.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::counters::Counters;

mod advice;
mod event;
mod marks;
mod moved;
mod phase;
mod retry;
mod target;
#[cfg(test)]
mod tests;
mod transition;

pub use event::{Event, Illegal};
pub use marks::{Mark, Marks, Now, Old, WayBack};
pub use moved::{Moved, Revision, TakenBackBy};
pub use phase::{Cause, CauseKind, Outcome, Phase, RollbackStep, Store, TeardownStep};
pub use retry::Retry;
pub use target::{Known, NoTarget, Target};

/// A moment, in milliseconds since the Unix epoch. The caller's clock never goes back within one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(pub u64);

impl Time {
    /// This much later.
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long until `later`; zero when that has passed.
    pub fn until(self, later: Self) -> Duration {
        Duration::from_millis(later.0.saturating_sub(self.0))
    }
}

/// What is fixed for one deployment when it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The group.
    pub group: String,
    /// The slot that had the traffic at the start.
    pub from: String,
    /// The slot that gets the new version.
    pub to: String,
    /// Whether there is a command that migrates.
    pub migrate: bool,
    /// Whether there is a command that provisions.
    pub provision: bool,
    /// Whether there is a command that reverts the database.
    pub revert: bool,
    /// Whether there is a command that stops a slot.
    pub decommission: bool,
    /// How long the new slot may take to become healthy.
    pub probe_deadline: Duration,
    /// How long the new slot is watched after the switch.
    pub soak: Duration,
    /// Whether too few requests in the soak count as success.
    pub accept_inconclusive: bool,
    /// How long requests under way may take to end.
    pub drain: Duration,
    /// How long the old slot stays up after that.
    pub warm: Duration,
    /// Counters of the old slot at the start: what it does from then on is what users had.
    pub served: Counters,
}

/// Where a deployment is, and what it has done so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The phase.
    pub phase: Phase,
    /// `migrate` of this deployment has succeeded and was not reverted since.
    pub migrated: bool,
    /// The new slot may have been started by this deployment.
    pub provisioned: bool,
    /// An abort was asked for and waits for an effect that must not be cut short.
    pub abort: Option<String>,
    /// What was read just before the switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marks: Option<Marks>,
}

impl State {
    /// Whether the old slot was nothing to go back to just before the switch: no healthy server, and no good answer to a user. It is
    /// so with a first release, and when the old version was broken.
    pub fn has_nothing_before(&self) -> bool {
        self.marks.as_ref().is_some_and(|marks| !marks.old.was_there())
    }
}
