//! Runs a command of a deployment again after the deployment is over.
//!
//! Meanwhile no deployment of the group can begin, and no switch by hand to the command's slot.

use std::time::Duration;

use cutover_core::api::Traffic;
use cutover_core::deployment::{Outcome, Part, Phase, State};
use cutover_engine::commands::Job;
use cutover_engine::driver;
use cutover_engine::world::World;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::Instant;

use super::running::live;
use super::{Control, LOOK_BACK, Refusal};
use crate::journal::Entry;

mod active;

const PAUSE: Duration = Duration::from_millis(50);

/// The command to run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Rerun {
    /// Undo the migration of a deployment that did not complete
    Revert,
    /// Stop the new slot of a deployment that did not complete
    Teardown,
    /// Stop the old slot of a completed deployment
    Decommission,
    /// Start the version of the active slot again, if none of its servers is healthy
    Provision,
}

/// A command that a deployment has left undone.
struct Left {
    entry: Entry,
    job: Job,
    /// The slot of the command. `None` if the slot now holds another version, so the command concerns only the database.
    slot: Option<String>,
}

/// A command that is running again.
#[derive(Debug)]
pub(super) struct Rerunning {
    pub(super) deployment: String,
    which: Rerun,
    slot: Option<String>,
    task: AbortHandle,
}

impl Rerun {
    /// Its name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Revert => "revert",
            Self::Teardown => "teardown",
            Self::Decommission => "decommission",
            Self::Provision => "provision",
        }
    }

    /// The command and its slot. `None` if the deployment has left nothing for it.
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
    /// Runs a command of the group's last deployment again and waits for its end. The deployment must be over. It may be an earlier
    /// deployment if the later ones have moved no traffic, or if `deployment` names it. Returns the deployment's id.
    pub async fn run(
        &self,
        group: &str,
        which: Rerun,
        deployment: Option<&str>,
        asked_by: &str,
    ) -> Result<String, Refusal> {
        let policy = self.policy_or_last(group).await?;
        let current = self.current(group);
        let task = {
            let current = current.lock().await;
            self.nothing_reruns(group)?;
            if let Some(busy) = self.busy(group, &current).await {
                return Err(busy);
            }
            let left = match (which, live(&current).await) {
                (Rerun::Provision, _) => self.dead_active(group, &policy, deployment).await?,
                (_, Some((running, phase))) => {
                    let why = match phase {
                        Phase::Warm { .. } => "its commands can be run again when the warm window is over",
                        _ => "its commands can be run again when it has ended",
                    };
                    return Err(running.refusal(why.to_owned()).await);
                }
                (_, None) => self.left_undone(group, which, deployment).await?,
            };
            if let Some(slot) = left.slot.as_ref().filter(|_| which != Rerun::Provision) {
                self.may_touch(group, slot, which).await?;
            }
            self.start(group, left, which, asked_by)
        };
        let done = task.await;
        done.unwrap_or_else(|_| Err(Refusal::Interrupted(format!("{} was ended", which.as_str()))))
    }

    /// Continues the command with which a deployment was stopping a slot when another one began. Nobody waits for it.
    pub(super) fn clean_up_beside(&self, entry: &Entry) {
        let (jobs, plan) = (driver::jobs(&entry.deployment), &entry.deployment.plan);
        let (which, job, slot) = match entry.state.phase.cleans_up() {
            Some(Part::Old) => (Rerun::Decommission, jobs.decommission_old, &plan.from),
            Some(Part::New) => (Rerun::Teardown, jobs.tear_down_new, &plan.to),
            None => return,
        };
        if let Some(job) = job {
            let left = Left { entry: entry.clone(), job, slot: Some(slot.clone()) };
            self.start(&plan.group, left, which, "the daemon");
        }
    }

    fn start(
        &self,
        group: &str,
        Left { entry, job, slot }: Left,
        which: Rerun,
        asked_by: &str,
    ) -> JoinHandle<Result<String, Refusal>> {
        let deployment = entry.deployment.id.clone();
        let (control, asked_by, name) = (self.clone(), asked_by.to_owned(), group.to_owned());
        let mut reruns = self.reruns();
        let task = tokio::spawn(async move {
            let done = control.rerun(entry, job, which, &asked_by).await;
            control.reruns().remove(&name);
            done
        });
        reruns.insert(group.to_owned(), Rerunning { deployment, which, slot, task: task.abort_handle() });
        task
    }

    /// Fails if a command of the group is running again.
    pub(super) fn nothing_reruns(&self, group: &str) -> Result<(), Refusal> {
        match self.reruns().get(group) {
            Some(running) => {
                Err(Refusal::Rerunning { group: group.to_owned(), which: running.which.as_str() })
            }
            None => Ok(()),
        }
    }

    /// Fails if a command on this slot, or on the database, is running again.
    pub(super) fn nothing_reruns_on(&self, group: &str, slot: &str) -> Result<(), Refusal> {
        let matters = |running: &Rerunning| {
            running.which == Rerun::Revert || running.slot.as_deref().is_none_or(|its| its == slot)
        };
        let is_there = self.reruns().get(group).is_some_and(matters);
        if is_there { self.nothing_reruns(group) } else { Ok(()) }
    }

    /// Ends all commands that are running again. Waits until `patience` for those that change a database.
    pub(super) async fn end_reruns(&self, patience: Instant) {
        let reverts = || self.reruns().values().any(|running| running.which == Rerun::Revert);
        while reverts() && Instant::now() < patience {
            tokio::time::sleep(PAUSE).await;
        }
        let all = std::mem::take(&mut *self.reruns());
        for Rerunning { deployment, task, .. } in all.into_values() {
            task.abort();
            self.end_commands(&deployment).await;
        }
    }

    /// Finds the command in the last deployment, or in an earlier one if the later ones have moved no traffic. An older revert
    /// needs the operator's explicit choice in `wanted`, because a later version may need the migration.
    async fn left_undone(&self, group: &str, which: Rerun, wanted: Option<&str>) -> Result<Left, Refusal> {
        let mut later = None;
        for entry in self.journal.history(Some(group), LOOK_BACK).await? {
            let id = entry.deployment.id.clone();
            let is_wanted = wanted.is_none_or(|wanted| wanted == id);
            if let Some((job, slot)) = which.of(&entry).filter(|_| is_wanted) {
                let (group, which_shown) = (group.to_owned(), which.as_str());
                return match later {
                    None => Ok(Left { entry, job, slot: Some(slot) }),
                    Some(_) if which == Rerun::Revert && wanted.is_some() => {
                        Ok(Left { entry, job, slot: None })
                    }
                    Some(later) if which == Rerun::Revert => {
                        Err(Refusal::LeftEarlier { group, which: which_shown, id, later })
                    }
                    Some(later) if wanted.is_some() => {
                        Err(Refusal::UsedSince { group, which: which_shown, id, later })
                    }
                    Some(_) => break,
                };
            }
            if entry.outcome != Some(Outcome::Failed) {
                later.get_or_insert(id);
            }
        }
        Err(Refusal::NothingToRun {
            group: group.to_owned(),
            which: which.as_str(),
            wanted: wanted.map(str::to_owned),
        })
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
            // Recorded, so the revert is not offered again.
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

    /// Fails if the slot has traffic. Unfinished requests prevent only a revert; other commands may cut them off.
    async fn may_touch(&self, group: &str, slot: &str, which: Rerun) -> Result<(), Refusal> {
        let groups = self.world.groups().await?;
        let Some(seen) = groups.iter().find(|seen| seen.name == group) else {
            return Err(Refusal::not_on_edge(self.world.name(), group, &groups));
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
