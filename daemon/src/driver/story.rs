//! What a deployment says about itself: the messages of its records, and what its commands are told.

use std::collections::BTreeMap;

use cutover_core::deployment::{
    CauseKind, Event, Marks, Old, Phase, RollbackStep, State, Store, TeardownStep,
};
use cutover_core::shell::quoted;

use super::Scene;
use crate::clock::rfc3339;
use crate::command::Job;
use crate::config::{self, Group};
use crate::journal::Deployment;

/// Commands that act on one slot or the other.
#[derive(Debug)]
pub struct Jobs {
    /// Undoes the migration.
    pub revert: Option<Job>,
    /// Stops the old slot.
    pub decommission_old: Option<Job>,
    /// Stops the new slot.
    pub tear_down_new: Option<Job>,
}

/// The commands of a deployment that an operator may have to type.
pub fn jobs(deployment: &Deployment) -> Jobs {
    let Group { revert, decommission, .. } = &deployment.config;
    let plan = &deployment.plan;
    Jobs {
        revert: revert.as_ref().map(|command| job_for_new(deployment, "revert", command)),
        // The version is that of the slot: a command that stops what it is told by version must not stop the live one.
        decommission_old: decommission
            .as_ref()
            .map(|command| job(deployment, "decommission", command, (&plan.from, &deployment.previous))),
        tear_down_new: decommission
            .as_ref()
            .map(|command| job(deployment, "teardown", command, (&plan.to, &deployment.version))),
    }
}

/// A command that acts on the new slot.
pub(super) fn job_for_new(deployment: &Deployment, name: &str, command: &config::Command) -> Job {
    job(deployment, name, command, (&deployment.plan.to, &deployment.version))
}

fn job(deployment: &Deployment, name: &str, command: &config::Command, (slot, version): (&str, &str)) -> Job {
    let mut environment: BTreeMap<String, String> = deployment.config.env.clone();
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

/// The message of the first record. `gives_up`: what the deployment costs, a clause each.
pub fn first_message(deployment: &Deployment, gives_up: &[String], state: &State) -> String {
    let plan = &deployment.plan;
    let price = if gives_up.is_empty() { String::new() } else { format!("; {}", gives_up.join(", ")) };
    format!(
        "deploying version \"{}\" to slot \"{}\" while \"{}\" has the traffic, asked by {}{price}; {}",
        deployment.version,
        plan.to,
        plan.from,
        deployment.asked_by,
        begin(state)
    )
}

/// The last message of a warm deployment when the next one begins.
pub fn superseded_message(deployment: &Deployment, end: &State) -> String {
    with_end("another deployment takes over".to_owned(), deployment, end)
}

/// Appends what is done now, or how it has ended.
pub(super) fn with_end(message: String, deployment: &Deployment, next: &State) -> String {
    let plan = &deployment.plan;
    let end = match &next.phase {
        Phase::Warm { .. } if next.has_nothing_before() => {
            format!("version \"{}\" is live; there was none before it", deployment.version)
        }
        Phase::Warm { until, .. } => {
            let until = rfc3339(*until);
            format!(
                "version \"{}\" is live; slot \"{}\" stays warm until {until}",
                deployment.version, plan.from
            )
        }
        Phase::Completed { note: None } => "done".to_owned(),
        Phase::Completed { note: Some(note) } => format!("done, but {note}"),
        Phase::Failed(cause) if cause.kind == CauseKind::RouteMoved => {
            format!("failed: {cause}; this deployment has moved no traffic{}", database(deployment, next))
        }
        Phase::Failed(cause) => {
            format!("failed: {cause}; no traffic has moved{}", database(deployment, next))
        }
        Phase::RolledBack(cause) => {
            format!("rolled back to slot \"{}\": {cause}{}", plan.from, database(deployment, next))
        }
        Phase::Stuck { reason, next } if next.is_empty() => format!("stuck: {reason}"),
        Phase::Stuck { reason, next } => format!("stuck: {reason}; next, type: {next}"),
        _ => begin(next),
    };
    // The reason of an end is often what has just happened: it is said once.
    if message.is_empty() || end.contains(&message) { end } else { format!("{message}; {end}") }
}

/// A migration that stays needs a word: the next deployment meets it.
fn database(deployment: &Deployment, state: &State) -> String {
    if !state.migrated {
        return String::new();
    }
    match deployment.config.revert {
        Some(_) => format!(
            "; the database keeps its migration, since users {} with it; to revert it, type: cutover run {} revert",
            if matches!(state.phase, Phase::Failed(_)) { "may have written" } else { "have written" },
            quoted(&deployment.plan.group)
        ),
        None => "; the database keeps its migration: there is no revert command".to_owned(),
    }
}

/// What is done now.
fn begin(state: &State) -> String {
    match &state.phase {
        Phase::Migrating if state.abort.is_some() => "letting the migration end first",
        Phase::Migrating => "migrating the database",
        Phase::Provisioning => "starting the new version",
        Phase::Probing { .. } => "waiting until it is healthy",
        Phase::Smoking => "running the smoke tests",
        Phase::Switching(Store::Reading) => "reading the route",
        Phase::Switching(Store::Storing) => "probing once more and switching",
        Phase::Soaking { .. } => "watching it under real traffic",
        Phase::Draining { .. } => "waiting for requests on the old version",
        Phase::Decommissioning(_) => "stopping the old version",
        Phase::TearingDown { step: TeardownStep::Revert, .. }
        | Phase::RollingBack { step: RollbackStep::Revert, .. } => "reverting the database",
        Phase::TearingDown { step: TeardownStep::Teardown, .. }
        | Phase::RollingBack { step: RollbackStep::Teardown, .. } => "stopping the new version",
        Phase::RollingBack { step: RollbackStep::Verify, .. } => "probing the old version",
        Phase::RollingBack { step: RollbackStep::SwitchBack, .. } => "switching back",
        Phase::RollingBack { step: RollbackStep::Drain { .. }, .. } => {
            "waiting for requests on the new version"
        }
        phase => phase.name(),
    }
    .to_owned()
}

impl<W> Scene<W> {
    /// What has happened.
    pub(super) fn message(&self, before: &State, event: &Event) -> String {
        let plan = &self.deployment.plan;
        match event {
            Event::Migrated => "migrated".to_owned(),
            Event::MigratedNothing => "there was nothing to migrate".to_owned(),
            Event::Provisioned => "started".to_owned(),
            Event::Ready => format!("slot \"{}\" is healthy", plan.to),
            Event::SmokePassed if self.deployment.config.smoke.is_empty() => "no smoke tests".to_owned(),
            Event::SmokePassed => "smoke tests passed".to_owned(),
            Event::RouteRead(Marks { generation, old, .. }) => {
                let way_back = match old {
                    old if !old.was_there() => {
                        ", and no healthy server: there will be nothing to go back to".to_owned()
                    }
                    Old { healthy, servers, .. } if healthy < servers => {
                        format!(", {healthy} of its {servers} servers healthy")
                    }
                    Old { .. } => String::new(),
                };
                format!("slot \"{}\" has the traffic, generation {generation}{way_back}", plan.from)
            }
            Event::Switched { generation } => {
                format!("switched to slot \"{}\", generation {generation}", plan.to)
            }
            Event::SoakPassed => "soak passed".to_owned(),
            Event::SoakInconclusive(why) if plan.accept_inconclusive => {
                format!("soak inconclusive, which is accepted: {why}")
            }
            Event::SoakInconclusive(why) if before.has_nothing_before() => {
                format!("soak inconclusive: {why}; there is nothing to go back to, so the new version stays")
            }
            Event::Drained => "drained".to_owned(),
            Event::WarmOver => "the warm window is over".to_owned(),
            Event::Decommissioned => "the old version is stopped".to_owned(),
            Event::OldHealthy => format!("slot \"{}\" is healthy", plan.from),
            Event::SwitchedBack => format!("traffic is back on slot \"{}\"", plan.from),
            Event::Reverted => "the database is reverted".to_owned(),
            Event::TornDown => "the new version is stopped".to_owned(),
            Event::Supersede => "another deployment or switch takes over".to_owned(),
            Event::SwitchUncertain(why) => format!("the switch is not certain: {why}"),
            Event::SoakBad(why) => format!("soak failed: {why}"),
            Event::SoakInconclusive(why) => format!("soak inconclusive: {why}"),
            Event::Abort(why) if before.phase.effect().is_some() => why.clone(),
            Event::StepFailed(why) => format!("it did not work: {why}"),
            Event::MigrateFailed(why)
            | Event::ProvisionFailed(why)
            | Event::NotReady(why)
            | Event::SmokeFailed(why)
            | Event::NotSwitched(why)
            | Event::SoakBlind(why)
            | Event::DrainTimedOut(why)
            | Event::OldSick(why)
            | Event::OldWorse(why)
            | Event::RouteMoved(why)
            | Event::Held(why)
            | Event::Abort(why)
            | Event::Rollback(why) => why.clone(),
        }
    }
}
