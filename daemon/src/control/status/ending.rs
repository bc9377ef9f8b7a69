//! How a deployment that did not complete ended, in three short texts: what, why, and what to type.

use cutover_core::deployment::{CauseKind, Phase, State};
use cutover_core::shell::quoted;
use cutover_engine::journal::Deployment;
use cutover_engine::kept::Kept;
use serde::{Deserialize, Serialize};

use super::words::version;

/// The end of a deployment that did not complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// What has become of the version, and where the traffic is.
    pub what: String,
    /// Why.
    pub why: String,
    /// The command to type next.
    pub next: String,
}

impl Ending {
    /// The end of a deployment in this state. `None` while it runs, and if it completed.
    pub fn of(deployment: &Deployment, state: &State) -> Option<Self> {
        let plan = &deployment.plan;
        let new = version(&deployment.version);
        let old = match deployment.previous.as_str() {
            "" => String::new(),
            previous => format!(" with {}", version(previous)),
        };
        let (from, to) = (&plan.from, &plan.to);
        let again = format!("cutover deploy {} --version VERSION", quoted(&plan.group));
        let ending = match &state.phase {
            Phase::Failed(cause) => {
                let what = match cause.kind {
                    CauseKind::RouteMoved => {
                        format!("{new} was not deployed: somebody else moved the traffic meanwhile")
                    }
                    CauseKind::Operator => format!("{new} was not deployed: no traffic has moved"),
                    _ => format!("{new} failed before the switch: no traffic has moved"),
                };
                let (left, next) = left_in_database(deployment, state, &again);
                Self { what, why: format!("{cause}{left}"), next }
            }
            Phase::RolledBack { cause, but: None } => {
                let (left, next) = left_in_database(deployment, state, &again);
                let what = format!("{new} was rolled back: slot \"{from}\"{old} has the traffic again");
                Self { what, why: format!("{cause}{left}"), next }
            }
            Phase::RolledBack { cause, but: Some(but) } => Self {
                what: format!("{new} was rolled back to slot \"{from}\"{old}, which is bad now, too"),
                why: format!("{cause}; slot \"{from}\": {but}"),
                next: format!("cutover status {}", quoted(&plan.group)),
            },
            Phase::Stuck { reason, next, settled: None } => Self {
                what: format!("{new} is stuck in slot \"{to}\": nothing more happens without you"),
                why: format!("{reason}{}", first(next)),
                next: next.clone(),
            },
            _ => return None,
        };
        Some(ending)
    }
}

/// A command that has just failed is not typed again before its cause is gone.
fn first(next: &str) -> &'static str {
    let is_command = [" revert", " teardown", " decommission"].iter().any(|command| next.ends_with(command));
    if next.starts_with("cutover run ") && is_command {
        "; mend that first, then run the command again"
    } else {
        ""
    }
}

/// What a deployment has left in the database, and the command that comes first then.
fn left_in_database(deployment: &Deployment, state: &State, otherwise: &str) -> (String, String) {
    match Kept::of(deployment, state) {
        None => (String::new(), otherwise.to_owned()),
        Some(Kept { why, revert }) => (format!("; {why}"), revert.unwrap_or_else(|| otherwise.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use cutover_core::deployment::Cause;
    use cutover_engine::scripted;

    use super::*;

    /// The log and the status say the same about the database, of whichever kind the group's is.
    #[test]
    fn what_the_database_keeps_is_that_of_the_log() {
        let command = serde_json::json!({ "command": ["/bin/true"] });
        let table = |on| serde_json::json!({ "url": "sqlite:/s", "migrations": "/m", "revert": on });
        for (policy, next) in [
            (serde_json::json!({ "database": table("auto") }), "cutover database revert shop"),
            (serde_json::json!({ "database": table("never") }), "cutover deploy shop --version VERSION"),
            (serde_json::json!({ "migrate": command, "revert": command }), "cutover run shop revert"),
            (serde_json::json!({ "migrate": command }), "cutover deploy shop --version VERSION"),
        ] {
            let mut deployment = scripted::deployment();
            deployment.policy = serde_json::from_value(policy).unwrap();
            deployment.plan.revert = deployment.policy.reverts();
            let cause =
                Cause { kind: CauseKind::Operator, text: "it was bad".to_owned(), blames_version: false };
            let phase = Phase::RolledBack { cause, but: None };
            let state = State { migrated: true, ..State::new(phase) };
            let kept = Kept::of(&deployment, &state).unwrap();
            let ending = Ending::of(&deployment, &state).unwrap();
            assert_eq!(ending.why, format!("it was bad; {}", kept.why));
            assert_eq!(ending.next, next);
        }
    }
}
