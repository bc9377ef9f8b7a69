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

mod advice;
mod event;
mod marks;
mod moved;
mod phase;
mod plan;
mod retry;
mod state;
mod target;
#[cfg(test)]
mod tests;
mod time;
mod transition;

pub use event::{Event, Illegal};
pub use marks::{Mark, Marks, Now, Old, WayBack};
pub use moved::{Moved, Revision, TakenBackBy};
pub use phase::{Cause, CauseKind, Outcome, Phase, RollbackStep, Store, TeardownStep};
pub use plan::Plan;
pub use retry::Retry;
pub use state::State;
pub use target::{Known, NoTarget, Target};
pub use time::Time;
