//! How a deployment that did not complete ended, in three short texts: what, why, and what to type.

use cutover_core::deployment::{CauseKind, Phase, State};
use cutover_core::shell::quoted;
use cutover_engine::journal::Deployment;
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
    if !state.migrated {
        return (String::new(), otherwise.to_owned());
    }
    match deployment.policy.revert {
        Some(_) => {
            let next = format!("cutover run {} revert", quoted(&deployment.plan.group));
            ("; the database keeps its migration until you revert it".to_owned(), next)
        }
        None => (
            "; the database keeps its migration: there is no revert command".to_owned(),
            otherwise.to_owned(),
        ),
    }
}
