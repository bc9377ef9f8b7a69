//! What a deployment that is over has left in the database, in words.

use cutover_core::deployment::{InDatabase, Phase, State};
use cutover_core::shell::quoted;

use crate::journal::Deployment;

/// Migrations that stay in the database. The next deployment finds them there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// That they stay, and why.
    pub why: String,
    /// The command that reverts them. `None`: they are meant to stay.
    pub revert: Option<String>,
}

impl Kept {
    /// What a deployment has left in this state. `None`: nothing.
    pub fn of(deployment: &Deployment, state: &State) -> Option<Self> {
        let group = quoted(&deployment.plan.group);
        let has_files = deployment.policy.database.is_some();
        let (why, revert) = match (deployment.plan.in_database(state), has_files) {
            (InDatabase::Nothing, _) => return None,
            (InDatabase::Stays, true) => ("the database keeps its migrations: revert = \"never\"", None),
            (InDatabase::Stays, false) => {
                ("the database keeps its migration: there is no revert command", None)
            }
            (InDatabase::Revertible, true) => (
                "the database keeps its migrations, because users may have written data with them",
                Some(format!("cutover database revert {group}")),
            ),
            (InDatabase::Revertible, false) => (
                match state.phase {
                    Phase::Failed(_) => {
                        "the database keeps its migration, because users may have written data with it"
                    }
                    _ => "the database keeps its migration, because users have written data with it",
                },
                Some(format!("cutover run {group} revert")),
            ),
        };
        Some(Self { why: why.to_owned(), revert })
    }
}

#[cfg(test)]
mod tests {
    use cutover_core::migration::OnRevert;

    use super::*;
    use crate::policy::Policy;

    /// A deployment whose policy has this.
    fn deployment(policy: serde_json::Value) -> Deployment {
        let mut deployment = crate::scripted::deployment();
        deployment.policy = serde_json::from_value::<Policy>(policy).unwrap();
        deployment.plan.revert = deployment.policy.reverts();
        deployment
    }

    #[test]
    fn what_stays_and_what_reverts_it() {
        let command = serde_json::json!({"command": ["/bin/true"]});
        let database = |on: OnRevert| {
            let table = serde_json::json!({"url": "sqlite:/s", "migrations": "/m", "revert": on});
            serde_json::json!({ "database": table })
        };
        for (policy, said, revert) in [
            (
                serde_json::json!({"migrate": command, "revert": command}),
                "its migration, because users have written data with it",
                Some("cutover run shop revert"),
            ),
            (serde_json::json!({ "migrate": command }), "its migration: there is no revert command", None),
            (
                database(OnRevert::Auto),
                "its migrations, because users may have written data with them",
                Some("cutover database revert shop"),
            ),
            (database(OnRevert::Never), "its migrations: revert = \"never\"", None),
        ] {
            let deployment = deployment(policy);
            let state = State::new(Phase::Warm { until: cutover_core::deployment::Time(1) });
            assert_eq!(Kept::of(&deployment, &state), None, "nothing was migrated");
            let kept = Kept::of(&deployment, &State { migrated: true, ..state }).unwrap();
            assert_eq!(kept.why, format!("the database keeps {said}"));
            assert_eq!(kept.revert.as_deref(), revert);
        }
    }
}
