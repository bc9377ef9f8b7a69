//! A command of a deployment that is over, run once more: what could not be done then, or what an operator decides now.

use cutover_core::api::Traffic;
use cutover_core::deployment::{Outcome, Phase, State};

use super::{Control, Refusal, live};
use crate::command::Job;
use crate::driver;
use crate::journal::{Deployment, Entry};
use crate::world::World;

/// Which command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Rerun {
    /// Undo the migration of a deployment that did not go through
    Revert,
    /// Stop the slot of a version that did not go through
    Teardown,
    /// Stop the slot of the version before the one that is live
    Decommission,
}

impl Rerun {
    /// As it is typed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Revert => "revert",
            Self::Teardown => "teardown",
            Self::Decommission => "decommission",
        }
    }

    /// The command, and the slot that it is done to; `None`: this deployment has left nothing of the kind.
    fn of(self, deployment: &Deployment, entry: &Entry) -> Option<(Job, String)> {
        let jobs = driver::jobs(deployment);
        let is_live = entry.outcome == Some(Outcome::Completed);
        let plan = &deployment.plan;
        match self {
            Self::Revert if !is_live && entry.state.migrated => Some((jobs.revert?, plan.to.clone())),
            Self::Teardown if !is_live => Some((jobs.tear_down_new?, plan.to.clone())),
            Self::Decommission if is_live => Some((jobs.decommission_old?, plan.from.clone())),
            _ => None,
        }
    }
}

impl<W: World> Control<W> {
    /// Runs a command of the group's last deployment, which must be over. The answer is its id.
    pub async fn run(&self, group: &str, which: Rerun, asked_by: &str) -> Result<String, Refusal> {
        self.group_config(group)?;
        let seat = self.seat(group);
        let seat = seat.lock().await;
        if let Some(running) = live(&seat).await {
            let phase = running.phase().await;
            let (id, name) = (running.id.clone(), phase.name().to_owned());
            return Err(match phase {
                Phase::Warm { .. } => {
                    let why = "what it has left is run when the warm window is over".to_owned();
                    Refusal::Unfit { id, phase: name, why }
                }
                _ => Refusal::Busy { id, phase: name },
            });
        }
        let entry = self.journal.history(Some(group), 1).await?.pop();
        let nothing = || Refusal::NothingToRun { group: group.to_owned(), which: which.as_str() };
        let entry = entry.ok_or_else(nothing)?;
        let deployment = &entry.deployment;
        let (job, slot) = which.of(deployment, &entry).ok_or_else(nothing)?;
        self.may_touch(group, &slot, which).await?;
        let done = self.world.run(&job).await;
        let phase = entry.state.phase.name();
        let message = match &done {
            Ok(()) => format!("{} was run again by {asked_by}", which.as_str()),
            Err(failed) => format!("{} was run again by {asked_by}: {}", which.as_str(), failed.reason),
        };
        tracing::info!(deployment = deployment.id, group, phase, "{message}");
        let now = self.clock.now();
        match (which, &done) {
            // It is not offered again.
            (Rerun::Revert, Ok(())) => {
                let state = State { migrated: false, ..entry.state.clone() };
                self.journal.append(&deployment.id, now, &state, &message).await?;
            }
            _ => self.journal.note(&deployment.id, now, phase, &message).await?,
        }
        match done {
            Ok(()) => Ok(deployment.id.clone()),
            Err(failed) => Err(Refusal::CommandFailed(format!("{}\n{}", failed.reason, failed.tail))),
        }
    }

    /// Nothing that has traffic is touched; what a slot holds still may be cut off, but the database is not changed under it.
    async fn may_touch(&self, group: &str, slot: &str, which: Rerun) -> Result<(), Refusal> {
        let groups = self.world.groups().await?.groups;
        let Some(seen) = groups.iter().find(|seen| seen.name == group) else {
            let known = groups.into_iter().map(|seen| seen.name).collect();
            return Err(Refusal::NotInNginx { group: group.to_owned(), known });
        };
        if let Some(shared) = seen.shared_with(slot, &groups) {
            return Err(Refusal::Shared { slot: slot.to_owned(), shared: shared.into(), helps: None });
        }
        match seen.has_traffic(slot) {
            None => Ok(()),
            Some(Traffic::InFlight { .. }) if which != Rerun::Revert => Ok(()),
            Some(traffic) => Err(Refusal::InUse { slot: slot.to_owned(), which: which.as_str(), traffic }),
        }
    }
}
