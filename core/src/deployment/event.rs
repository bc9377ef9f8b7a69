//! What can happen to a deployment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Marks, Moved, Revision, TakenBackBy};

/// What the work of a phase came to, or what an operator asked for. Texts are one line for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// `migrate` succeeded.
    Migrated,
    /// `migrate` succeeded and applied nothing: there is nothing to revert.
    MigratedNothing,
    /// `migrate` failed.
    MigrateFailed(String),
    /// `provision` succeeded.
    Provisioned,
    /// `provision` failed.
    ProvisionFailed(String),
    /// The new slot is healthy.
    Ready,
    /// Not by the deadline.
    NotReady(String),
    /// Every smoke test passed.
    SmokePassed,
    /// One did not.
    SmokeFailed(String),
    /// The route is on the old slot.
    RouteRead(Marks),
    /// The route is on the new slot, and the edge has confirmed it.
    Switched {
        /// Its revision now, by edge.
        revisions: BTreeMap<String, Revision>,
    },
    /// The route was not moved: this is certain.
    NotSwitched(String),
    /// The route may have been moved, or may move back by itself: it cannot be relied on.
    SwitchUncertain(String),
    /// Somebody else has moved the route, or given traffic to a slot that was to be started or stopped.
    RouteMoved(Moved),
    /// The edge has moved the route back to the old slot by itself.
    TakenBack(TakenBackBy),
    /// The soak's time is over and its verdict is Good.
    SoakPassed,
    /// The soak's verdict is Bad.
    SoakBad(String),
    /// The soak's time is over with too few requests.
    SoakInconclusive(String),
    /// The edge could not be read for too long.
    SoakBlind(String),
    /// The slot holds no request any more.
    Drained,
    /// It still holds some at the deadline, or could not be read.
    DrainTimedOut(String),
    /// The warm window is over.
    WarmOver,
    /// The old slot is stopped.
    Decommissioned,
    /// The old slot is not healthy.
    OldSick(String),
    /// The old slot is no better than the new one: the text completes `slot "blue" ..`.
    OldWorse(String),
    /// The route is on the old slot.
    SwitchedBack,
    /// `revert` succeeded.
    Reverted,
    /// The new slot is stopped.
    TornDown,
    /// The database is not reverted while the slot holds requests.
    Held(String),
    /// The step could not be done this time.
    StepFailed(String),
    /// The operator wants the deployment to end, and what it did undone.
    Abort(String),
    /// The operator wants the old version back.
    Rollback(String),
    /// Another deployment or switch begins: it takes over the standby slot.
    Supersede,
}

/// An event that makes no sense in a phase. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event} is not possible in phase {phase}")]
pub struct Illegal {
    /// The phase's name.
    pub phase: &'static str,
    /// The event, for people.
    pub event: String,
}
