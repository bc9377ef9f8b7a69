//! The commands of a deployment and their environment.

use std::collections::BTreeMap;

use crate::commands::Job;
use crate::journal::Deployment;
use crate::policy::{Command, Policy};

/// Commands of a deployment that can run again.
#[derive(Debug)]
pub struct Jobs {
    /// Starts the new slot.
    pub provision_new: Option<Job>,
    /// Undoes the migration.
    pub revert: Option<Job>,
    /// Stops the old slot.
    pub decommission_old: Option<Job>,
    /// Stops the new slot.
    pub tear_down_new: Option<Job>,
}

/// The commands of a deployment that an operator may run again.
pub fn jobs(deployment: &Deployment) -> Jobs {
    let Policy { provision, revert, decommission, .. } = &deployment.policy;
    let plan = &deployment.plan;
    Jobs {
        provision_new: provision.as_ref().map(|command| job_for_new(deployment, "provision", command)),
        revert: revert.as_ref().map(|command| job_for_new(deployment, "revert", command)),
        // `CUTOVER_VERSION` is the version in the slot, so a command that stops by version does not stop the live one.
        decommission_old: decommission
            .as_ref()
            .map(|command| job(deployment, "decommission", command, (&plan.from, &deployment.previous))),
        tear_down_new: decommission
            .as_ref()
            .map(|command| job(deployment, "teardown", command, (&plan.to, &deployment.version))),
    }
}

/// A command that acts on the new slot.
pub(super) fn job_for_new(deployment: &Deployment, name: &str, command: &Command) -> Job {
    job(deployment, name, command, (&deployment.plan.to, &deployment.version))
}

fn job(deployment: &Deployment, name: &str, command: &Command, (slot, version): (&str, &str)) -> Job {
    let mut environment: BTreeMap<String, String> = deployment.policy.env.clone();
    for (name, value) in [
        ("CUTOVER_GROUP", deployment.plan.group.as_str()),
        ("CUTOVER_SLOT", slot),
        ("CUTOVER_VERSION", version),
        ("CUTOVER_DEPLOYMENT", &deployment.id),
        ("CUTOVER_PREVIOUS_VERSION", &deployment.previous),
    ] {
        environment.insert(name.to_owned(), value.to_owned());
    }
    Job { name: name.to_owned(), deployment: deployment.id.clone(), command: command.clone(), environment }
}
