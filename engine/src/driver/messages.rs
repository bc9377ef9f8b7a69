//! The messages of a deployment's records.

use cutover_core::deployment::{
    CauseKind, Event, Marks, Old, Phase, Plan, Revision, RollbackStep, State, Store, TeardownStep, Time,
};
use cutover_core::shell::quoted;

use crate::clock::rfc3339;
use crate::edge::PROBES_ONLY;
use crate::journal::Deployment;
use crate::kept::Kept;

/// The message of the first record. `gives_up` lists what the deployment costs, one clause each.
pub fn first_message(deployment: &Deployment, gives_up: &[String], state: &State) -> String {
    let plan = &deployment.plan;
    let price = if gives_up.is_empty() { String::new() } else { format!("; {}", gives_up.join(", ")) };
    format!(
        "deploying {} to slot \"{}\" while \"{}\" has the traffic, requested by {}{price}; {}",
        version(deployment),
        plan.to,
        plan.from,
        deployment.requester(),
        begin(deployment, state)
    )
}

/// The version in a sentence.
fn version(deployment: &Deployment) -> String {
    match deployment.version.as_str() {
        "" => "an unknown version".to_owned(),
        version => format!("version \"{version}\""),
    }
}

/// The last message of a warm deployment that another one supersedes.
pub fn superseded_message(deployment: &Deployment, end: &State) -> String {
    with_end("another deployment takes over".to_owned(), deployment, end)
}

/// Appends what the driver does now, or how the deployment ended.
pub(super) fn with_end(message: String, deployment: &Deployment, next: &State) -> String {
    let plan = &deployment.plan;
    let watched = watched(plan);
    let end = match &next.phase {
        Phase::Warm { .. } if next.has_nothing_before() => {
            format!(
                "{} is live{watched}; slot \"{}\" had no healthy version before it",
                version(deployment),
                plan.from
            )
        }
        Phase::Warm { until } => {
            let until = rfc3339(*until);
            format!(
                "{} is live{watched}; slot \"{}\" stays warm until {until}",
                version(deployment),
                plan.from
            )
        }
        Phase::Completed { note: None } => format!("done{watched}"),
        Phase::Completed { note: Some(note) } => format!("done{watched}, but {note}"),
        Phase::Failed(cause) if cause.kind == CauseKind::RouteMoved => {
            format!("{cause}; this deployment has moved no traffic{}", database(deployment, next))
        }
        Phase::Failed(cause) => {
            format!("{cause}; no traffic has moved{}", database(deployment, next))
        }
        Phase::RolledBack { cause, but } => {
            let but = but.as_ref().map(|but| format!("; but slot \"{}\" is bad too: {but}", plan.from));
            let (but, database) = (but.unwrap_or_default(), database(deployment, next));
            format!("rolled back to slot \"{}\": {cause}{but}{database}", plan.from)
        }
        Phase::Stuck { settled: Some(how), .. } => how.clone(),
        Phase::Stuck { reason, next, settled: None } => format!("{reason}; next, type: {next}"),
        _ => begin(deployment, next),
    };
    // The end often contains the message already.
    if message.is_empty() || end.contains(&message) { end } else { format!("{message}; {end}") }
}

/// A clause about migrations that stay in the database, because they affect the next deployment.
fn database(deployment: &Deployment, state: &State) -> String {
    match Kept::of(deployment, state) {
        None => String::new(),
        Some(Kept { why, revert: None }) => format!("; {why}"),
        Some(Kept { why, revert: Some(revert) }) => format!("; {why}; to revert it, type: {revert}"),
    }
}

/// What the driver does in this phase.
fn begin(deployment: &Deployment, state: &State) -> String {
    let plan = &deployment.plan;
    match &state.phase {
        Phase::Soaking { until } => return watching(plan, state, *until),
        Phase::Switching(Store::Reading) if state.paused.is_some() => {
            return format!(
                "paused before the switch; to go on, type: cutover resume {}",
                quoted(&plan.group)
            );
        }
        Phase::RollingBack { step: RollbackStep::Watch { .. }, .. } => "watching the old version",
        Phase::Migrating if state.abort.is_some() => "waiting for the migration to end",
        Phase::Migrating => "migrating the database",
        Phase::Provisioning => "starting the new version",
        Phase::Probing { .. } => "waiting until it is healthy",
        Phase::Smoking => "running the smoke tests",
        Phase::Switching(Store::Reading) => "reading the route",
        Phase::Switching(Store::Storing) => "probing once more and switching",
        Phase::Confirming(_) => "making the switch permanent",
        Phase::Draining { .. } => "waiting for requests on the old version to end",
        Phase::Decommissioning(_) => "stopping the old version",
        Phase::TearingDown { step: TeardownStep::Revert, .. }
        | Phase::RollingBack { step: RollbackStep::Revert, .. } => "reverting the database",
        Phase::TearingDown { step: TeardownStep::Teardown, .. }
        | Phase::RollingBack { step: RollbackStep::Teardown, .. } => "stopping the new version",
        Phase::RollingBack { step: RollbackStep::SwitchBack, .. } => {
            "probing the old version and switching back"
        }
        Phase::RollingBack { step: RollbackStep::Drain { .. }, .. } => {
            "waiting for requests on the new version to end"
        }
        phase => phase.name(),
    }
    .to_owned()
}

/// What happened.
pub(super) fn of_event(deployment: &Deployment, before: &State, event: &Event) -> String {
    let plan = &deployment.plan;
    match event {
        Event::Migrated => "migrated".to_owned(),
        Event::MigratedNothing => "there was nothing to migrate".to_owned(),
        Event::Provisioned => "started".to_owned(),
        Event::Ready => format!("slot \"{}\" is healthy", plan.to),
        Event::SmokePassed if deployment.policy.smoke.is_empty() => "no smoke tests".to_owned(),
        Event::SmokePassed => "smoke tests passed".to_owned(),
        Event::RouteRead(marks) => {
            let Marks { edges, old, .. } = &**marks;
            let revision = shown(edges.iter().map(|(edge, mark)| (edge, &mark.expected)));
            let way_back = match old {
                old if !old.was_there() => ", but has no healthy server, so there is no way back".to_owned(),
                Old { healthy, servers, .. } if healthy < servers => {
                    format!(", {healthy} of its {servers} servers healthy")
                }
                Old { .. } => String::new(),
            };
            format!("slot \"{}\" has the traffic, {revision}{way_back}", plan.from)
        }
        Event::Switched { revisions } => {
            let what = match plan.steps.get(before.step) {
                Some(step) => format!("slot \"{}\" has {} of the traffic", plan.to, step.share),
                None => format!("switched to slot \"{}\"", plan.to),
            };
            format!("{what}, {}", shown(revisions.iter()))
        }
        Event::SoakPassed if before.step < plan.steps.last() => "step passed".to_owned(),
        Event::SoakPassed => format!("soak passed{}", watched(plan)),
        Event::OldGood => format!("nothing is wrong with slot \"{}\"", plan.from),
        Event::Pause(by) => format!("paused by {by}"),
        Event::Resume(by) => format!("resumed by {by}"),
        Event::Promote(by) => format!("promoted by {by}"),
        Event::SoakInconclusive(why) if plan.accept_inconclusive => {
            format!("soak inconclusive, which is accepted: {why}")
        }
        Event::SoakInconclusive(why) if before.has_nothing_before() => {
            format!("soak inconclusive: {why}; there is nothing to go back to, so the new version stays")
        }
        Event::Confirmed => "the switch is permanent".to_owned(),
        Event::Drained => "drained".to_owned(),
        Event::WarmOver => "the warm window is over".to_owned(),
        Event::Decommissioned => "the old version is stopped".to_owned(),
        Event::SwitchedBack => format!("traffic is back on slot \"{}\"", plan.from),
        Event::Reverted => "the database is reverted".to_owned(),
        Event::TornDown => "the new version is stopped".to_owned(),
        Event::Supersede => "a switch by hand takes over".to_owned(),
        Event::TakeOver => "another deployment takes over".to_owned(),
        Event::SoakBad(why) => format!("soak failed: {why}"),
        Event::SoakInconclusive(why) => format!("soak inconclusive: {why}"),
        Event::RouteMoved(moved) => moved.to_string(),
        Event::CompanionBack(cause) => cause.to_string(),
        Event::TakenBack(by) => format!("the {by} of the last change took the traffic back"),
        Event::StepFailed(why) => format!("the step failed: {why}"),
        Event::MustAsk { why, .. } => format!("the database is not reverted: {why}"),
        Event::MigrateFailed(why)
        | Event::MigratedPartly(why)
        | Event::ProvisionFailed(why)
        | Event::NotReady(why)
        | Event::SmokeFailed(why)
        | Event::NotSwitched(why)
        | Event::SwitchUncertain(why)
        | Event::SoakBlind(why)
        | Event::DrainTimedOut(why)
        | Event::OldSick(why)
        | Event::OldWorse(why)
        | Event::OldBad(why)
        | Event::TrialHeld(why)
        | Event::CompanionStays(why)
        | Event::Held(why)
        | Event::Abort(why)
        | Event::Rollback(why) => why.clone(),
    }
}

/// What the watch waits for.
fn watching(plan: &Plan, state: &State, until: Option<Time>) -> String {
    let what = match plan.steps.get(state.step) {
        Some(step) if plan.probes_only => format!("{PROBES_ONLY}, with {} of the traffic", step.share),
        Some(step) => format!("watching it with {} of the traffic", step.share),
        None if plan.probes_only => PROBES_ONLY.to_owned(),
        None => "watching it under real traffic".to_owned(),
    };
    let group = quoted(&plan.group);
    match (&state.paused, until) {
        (Some(_), _) => format!("{what}; paused: to go on, type: cutover resume {group}"),
        (None, None) => format!("{what}; for the next step, type: cutover promote {group}"),
        (None, Some(_)) => what,
    }
}

/// What the outcome must not hide: nothing but probes has shown how the version does.
fn watched(plan: &Plan) -> String {
    if plan.probes_only { format!(", {PROBES_ONLY}") } else { String::new() }
}

fn shown<'a>(revisions: impl Iterator<Item = (&'a String, &'a Revision)>) -> String {
    let all: Vec<(&String, &Revision)> = revisions.collect();
    match all.split_first() {
        Some(((_, first), others)) if others.iter().all(|(_, revision)| revision == first) => {
            first.to_string()
        }
        _ => {
            all.iter().map(|(edge, revision)| format!("\"{edge}\" {revision}")).collect::<Vec<_>>().join(", ")
        }
    }
}
