//! The events of a deployment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Cause, Marks, Moved, Phase, Revision, TakenBackBy};

/// The result of the work of a phase, or a request of an operator. Texts are one line for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// `migrate` succeeded.
    Migrated,
    /// `migrate` succeeded and applied nothing, so there is nothing to revert.
    MigratedNothing,
    /// `migrate` failed.
    MigrateFailed(String),
    /// The built-in migrations failed, and what is applied of them is known to the database, which can revert it.
    MigratedPartly(String),
    /// `provision` succeeded.
    Provisioned,
    /// `provision` failed.
    ProvisionFailed(String),
    /// The new slot is healthy.
    Ready,
    /// The new slot was not healthy by the deadline.
    NotReady(String),
    /// All smoke tests passed.
    SmokePassed,
    /// A smoke test failed.
    SmokeFailed(String),
    /// The route is on the old slot.
    RouteRead(Box<Marks>),
    /// The edge confirmed that the route is on the new slot.
    Switched {
        /// The revision after the switch, by edge.
        revisions: BTreeMap<String, Revision>,
    },
    /// It is certain that the route was not moved.
    NotSwitched(String),
    /// The route may have been moved, or may move back by itself.
    SwitchUncertain(String),
    /// Somebody else moved the route, or gave traffic to a slot that this deployment was about to start or stop.
    RouteMoved(Moved),
    /// The edge moved the route back to the old slot by itself.
    TakenBack(TakenBackBy),
    /// The edge had reason to take the traffic back, but the old slot was failing too. The text names the figures.
    TrialHeld(String),
    /// The switch is permanent.
    Confirmed,
    /// The soak ended with the verdict Good.
    SoakPassed,
    /// The verdict of the soak is Bad.
    SoakBad(String),
    /// The soak ended with too little evidence for a verdict.
    SoakInconclusive(String),
    /// The edge could not be read for too long.
    SoakBlind(String),
    /// The slot no longer holds a request.
    Drained,
    /// The slot still holds requests at the deadline, or could not be read.
    DrainTimedOut(String),
    /// The warm window is over.
    WarmOver,
    /// The old slot is stopped.
    Decommissioned,
    /// The old slot is not healthy.
    OldSick(String),
    /// The old slot is no better than the new one. The text completes `slot "blue" ..`.
    OldWorse(String),
    /// The route is on the old slot.
    SwitchedBack,
    /// `revert` succeeded.
    Reverted,
    /// The new slot is stopped.
    TornDown,
    /// The slot holds requests, so the database is not reverted.
    Held(String),
    /// The database is not reverted without an operator, because data would be lost, or because it is not certain that none would.
    MustAsk {
        /// Why.
        why: String,
        /// The command to type.
        next: String,
    },
    /// This try of the step failed.
    StepFailed(String),
    /// The old slot, which has the traffic again, was watched and nothing is wrong with it.
    OldGood,
    /// The old slot, which has the traffic again, is bad.
    OldBad(String),
    /// A deployment of another group that moves with this one goes back, or has gone back. The cause is that of this one.
    CompanionBack(Cause),
    /// A deployment of another group that moves with this one is stuck, and its traffic stays on its new slot.
    CompanionStays(String),
    /// The operator wants no more traffic to move to the new slot for now.
    Pause(String),
    /// The operator wants a paused deployment to go on.
    Resume(String),
    /// The operator wants the next step now.
    Promote(String),
    /// The operator wants to end the deployment and undo it.
    Abort(String),
    /// The operator wants the old version back.
    Rollback(String),
    /// A switch by hand has moved the traffic, or is about to, and this deployment only watches.
    Supersede,
    /// Another deployment begins. A command that stops a slot goes on beside it.
    TakeOver,
}

impl Event {
    /// Whether an operator asks for it.
    pub(super) fn is_asked(&self) -> bool {
        matches!(
            self,
            Self::Pause(_)
                | Self::Resume(_)
                | Self::Promote(_)
                | Self::Abort(_)
                | Self::Rollback(_)
                | Self::Supersede
                | Self::TakeOver
        )
    }
}

/// An event that is not possible in a phase. The state has not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event} is not possible in phase {phase}")]
pub struct Illegal {
    /// The phase's name.
    pub phase: &'static str,
    /// The event, in words.
    pub event: String,
}

impl Illegal {
    /// The error for an event in a phase.
    pub(super) fn of(phase: &Phase, event: &Event) -> Self {
        let event = match event {
            Event::Abort(_) => "an abort".to_owned(),
            Event::Rollback(_) => "a rollback".to_owned(),
            Event::Supersede => "a switch by hand".to_owned(),
            Event::TakeOver => "another deployment".to_owned(),
            Event::Pause(_) => "a pause".to_owned(),
            Event::Resume(_) => "a resume".to_owned(),
            Event::Promote(_) => "a promotion".to_owned(),
            event => format!("the event {event:?}"),
        };
        Self { phase: phase.name(), event }
    }
}
