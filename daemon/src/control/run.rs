//! A command of a deployment that is over, run once more: what could not be done then, or what an operator decides now.
//!
//! It holds up no switch by hand, unless that leads to the very slot; a deployment waits for its end.

use std::time::Duration;

use cutover_core::api::Traffic;
use cutover_core::deployment::{Outcome, Phase, State};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::{Control, LOOK_BACK, Refusal, live};
use crate::command::Job;
use crate::driver;
use crate::journal::Entry;
use crate::world::World;

const PAUSE: Duration = Duration::from_millis(50);

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

/// A command that is being run again.
#[derive(Debug)]
pub(super) struct Rerunning {
    pub(super) deployment: String,
    which: Rerun,
    slot: String,
    task: AbortHandle,
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
    fn of(self, entry: &Entry) -> Option<(Job, String)> {
        let Entry { deployment, state, .. } = entry;
        let jobs = driver::jobs(deployment);
        let is_live = entry.outcome == Some(Outcome::Completed);
        let plan = &deployment.plan;
        match self {
            Self::Revert if !is_live && state.migrated => Some((jobs.revert?, plan.to.clone())),
            Self::Teardown if !is_live && state.provisioned => Some((jobs.tear_down_new?, plan.to.clone())),
            Self::Decommission if is_live => Some((jobs.decommission_old?, plan.from.clone())),
            _ => None,
        }
    }
}

impl<W: World> Control<W> {
    /// Runs a command of the group's last deployment, which must be over; or of one before, if those after it have moved no
    /// traffic. The answer is the deployment's id.
    pub async fn run(&self, group: &str, which: Rerun, asked_by: &str) -> Result<String, Refusal> {
        self.group_config(group)?;
        let seat = self.seat(group);
        let task = {
            let seat = seat.lock().await;
            self.nothing_reruns(group)?;
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
            let nothing = || Refusal::NothingToRun { group: group.to_owned(), which: which.as_str() };
            let (entry, job, slot) = self.left_undone(group, which).await?.ok_or_else(nothing)?;
            self.may_touch(group, &slot, which).await?;
            let deployment = entry.deployment.id.clone();
            let (control, asked_by) = (self.clone(), asked_by.to_owned());
            let task = tokio::spawn(async move { control.rerun(entry, job, which, &asked_by).await });
            let running = Rerunning { deployment, which, slot, task: task.abort_handle() };
            self.reruns().insert(group.to_owned(), running);
            task
        };
        let done = task.await;
        self.reruns().remove(group);
        done.unwrap_or_else(|_| Err(Refusal::Interrupted(format!("{} was ended", which.as_str()))))
    }

    /// A refusal while a command of the group is run again.
    pub(super) fn nothing_reruns(&self, group: &str) -> Result<(), Refusal> {
        match self.reruns().get(group) {
            Some(running) => {
                Err(Refusal::Rerunning { group: group.to_owned(), which: running.which.as_str() })
            }
            None => Ok(()),
        }
    }

    /// The same, if it is done to this slot.
    pub(super) fn nothing_reruns_on(&self, group: &str, slot: &str) -> Result<(), Refusal> {
        let is_there = self.reruns().get(group).is_some_and(|running| running.slot == slot);
        if is_there { self.nothing_reruns(group) } else { Ok(()) }
    }

    /// Ends all commands that are run again; one that changes a database may end by itself until then.
    pub(super) async fn end_reruns(&self, patience: Instant) {
        let reverts = || self.reruns().values().any(|running| running.which == Rerun::Revert);
        while reverts() && Instant::now() < patience {
            tokio::time::sleep(PAUSE).await;
        }
        let all = std::mem::take(&mut *self.reruns());
        for Rerunning { deployment, task, .. } in all.into_values() {
            task.abort();
            if let Err(error) = self.world.end_commands(&deployment).await {
                tracing::warn!(deployment, %error, "failed to end its commands");
            }
        }
    }

    async fn left_undone(&self, group: &str, which: Rerun) -> Result<Option<(Entry, Job, String)>, Refusal> {
        for entry in self.journal.history(Some(group), LOOK_BACK).await? {
            if let Some((job, slot)) = which.of(&entry) {
                return Ok(Some((entry, job, slot)));
            }
            if entry.outcome != Some(Outcome::Failed) {
                break;
            }
        }
        Ok(None)
    }

    async fn rerun(&self, entry: Entry, job: Job, which: Rerun, asked_by: &str) -> Result<String, Refusal> {
        let deployment = &entry.deployment;
        let done = self.world.run(&job).await;
        let (id, phase) = (&deployment.id, entry.state.phase.name());
        let mut message = format!("{} was run again by {asked_by}", which.as_str());
        if let Err(failed) = &done {
            message = format!("{message}: {}", failed.reason);
        }
        tracing::info!(deployment = id, group = deployment.plan.group, phase, "{message}");
        let now = self.clock.now();
        match (which, &done) {
            // It is not offered again.
            (Rerun::Revert, Ok(())) => {
                let state = State { migrated: false, ..entry.state.clone() };
                self.journal.append(id, now, &state, &message).await?;
            }
            _ => self.journal.note(id, now, phase, &message).await?,
        }
        match done {
            Ok(()) => Ok(id.clone()),
            Err(failed) if failed.tail.lines().count() > 1 => {
                Err(Refusal::CommandFailed(format!("{}\n{}", failed.reason, failed.tail)))
            }
            Err(failed) => Err(Refusal::CommandFailed(failed.reason)),
        }
    }

    /// Nothing that has traffic is touched; what a slot holds still may be cut off, but the database is not changed under it.
    async fn may_touch(&self, group: &str, slot: &str, which: Rerun) -> Result<(), Refusal> {
        let groups = self.world.groups().await?.groups;
        let Some(seen) = groups.iter().find(|seen| seen.name == group) else {
            let known = groups.into_iter().map(|seen| seen.name).collect();
            return Err(Refusal::NotInNginx { group: group.to_owned(), known });
        };
        let is_in_the_way = |traffic: &Traffic| traffic.is_routed() || which == Rerun::Revert;
        let within = seen.shared_within(slot).filter(|_| which != Rerun::Revert);
        let shared = within.or_else(|| seen.shared_with(slot, &groups));
        if let Some(shared) = shared.filter(|shared| is_in_the_way(&shared.traffic)) {
            return Err(Refusal::Shared { slot: slot.to_owned(), shared: shared.into(), helps: None });
        }
        match seen.has_traffic(slot).filter(is_in_the_way) {
            Some(traffic) => Err(Refusal::InUse { slot: slot.to_owned(), which: which.as_str(), traffic }),
            None => Ok(()),
        }
    }
}
