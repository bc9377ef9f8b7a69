//! The one command that an operator who looks at a group most likely needs next.

use cutover_core::api::{TrialPhase, TrialState};
use cutover_core::shell::quoted;
use serde::{Deserialize, Serialize};

use super::words::version;
use super::{DeploymentStatus, GroupStatus};

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextStep {
    /// The command to type; absent: there is none, and `purpose` says what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// What it is for.
    pub purpose: String,
}

impl NextStep {
    fn new(command: String, purpose: impl Into<String>) -> Option<Self> {
        Some(Self { command: Some(command), purpose: purpose.into() })
    }

    /// The next step of a group. `None`: nothing is known of it.
    pub(super) fn of(status: &GroupStatus) -> Option<Self> {
        let group = quoted(&status.group);
        status.active.as_ref()?;
        let deployment = status.deployment.as_ref();
        let running = deployment.filter(|one| one.outcome.is_none());
        if let Some(helps) = status.health.next.as_deref().filter(|_| running.is_none()) {
            return Some(helping(helps));
        }
        if let Some(one) = deployment.filter(|one| one.needs_operator) {
            let next = one.ending.as_ref().map(|ending| ending.next.clone());
            return Self::new(next?, "ends what the last deployment has left");
        }
        if let Some(one) = running {
            return during(one, &group);
        }
        if let Some(TrialState { fallback, phase: TrialPhase::Held, .. }) = &status.trial {
            let command = format!("cutover switch {group} --to {}", quoted(fallback));
            return Self::new(command, "takes the traffic back, if that slot is healthy");
        }
        match deployment.filter(|one| one.phase == "warm") {
            Some(one) => Self::new(
                format!("cutover rollback {group}"),
                format!("goes back to {}", version(&one.previous_version)),
            ),
            None => Self::new(format!("cutover deploy {group} --version VERSION"), "deploys a version"),
        }
    }
}

/// The advice of the vigil: a command or a sentence.
fn helping(helps: &str) -> NextStep {
    match helps.starts_with("cutover ") {
        true => NextStep { command: Some(helps.to_owned()), purpose: "serves the users again".to_owned() },
        false => NextStep { command: None, purpose: helps.to_owned() },
    }
}

fn during(one: &DeploymentStatus, group: &str) -> Option<NextStep> {
    let is_held = one.phase == "soaking" && one.timing.is_none();
    if one.paused_by.is_some() {
        return NextStep::new(format!("cutover resume {group}"), "lets the deployment go on");
    }
    match is_held {
        true => NextStep::new(format!("cutover promote {group}"), "begins the next step"),
        false => NextStep::new(format!("cutover watch {group}"), "follows the deployment"),
    }
}
