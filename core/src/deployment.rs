//! One deployment as a pure function of a state, an event and the time. It returns the next state.
//!
//! ```text
//!                                                    +--- next step --+
//!                                                    v                |
//! migrating -> provisioning -> probing -> smoking -> switching -> soaking -> confirming -> draining -> warm
//!     |             |             |          |           |           |           |            |         |
//!     +-------------+-------------+----------+-----------+           +-----------+------------+---------+ operator
//!                                 |                                  |                                  |
//!                 tearing_down: revert, stop new         rolling_back: verify old, switch back,   decommissioning
//!                                 |                      drain new, revert, stop new, watch old         |
//!                              failed                                |                              completed
//!                       (no traffic moved)                      rolled_back
//!
//!              a step that cannot be done ends as stuck, with the next command to type
//! ```
//!
//! These rules hold for every sequence of events. The tests check them with random sequences:
//!
//! - Traffic moves forward only after the smoke tests passed. It moves back only after the old slot was verified.
//! - The database is reverted only if `migrate` of this deployment succeeded. After a failed `migrate` the extent of a revert is
//!   unknown. A rollback from the warm window does not revert it either, because users have written data since.
//! - A soak with too little evidence does not end the only running version: without a healthy old slot the new version stays.
//! - If somebody else moves the route, the deployment ends: as failed before the switch, as stuck after it. If the edge takes the
//!   traffic back by itself, the rest of the rollback follows.
//! - The number of tries of each step back is bounded, so every deployment ends.
//!
//! The journal keeps the state. The phase says what the driver does next. A restarted daemon does the work of the phase again, so
//! that work must be idempotent.

mod advice;
mod companion;
mod companions;
mod event;
mod fencing;
mod marks;
mod moved;
mod operator;
mod phase;
mod plan;
mod retry;
mod rolling_back;
mod soaking;
mod state;
mod steps;
mod target;
#[cfg(test)]
mod tests;
mod time;
mod timing;
mod transition;

pub use advice::InDatabase;
pub use companion::Companion;
pub use companions::{Departure, Progress, Stage};
pub use event::{Event, Illegal};
pub use marks::{Mark, Marks, Now, Old, WayBack};
pub use moved::{Moved, Revision, TakenBackBy};
pub use phase::{Cause, CauseKind, Outcome, Part, Phase, RollbackStep, Store, TeardownStep};
pub use plan::Plan;
pub use retry::Retry;
pub use state::State;
pub use steps::{BadSteps, Hold, MOST_STEPS, Step, Steps};
pub use target::{Known, NoTarget, Target};
pub use time::Time;
pub use timing::Timing;
