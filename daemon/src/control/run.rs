//! Runs a command of a deployment again after the deployment is over.
//!
//! Meanwhile no deployment and no switch by hand to the command's slot can begin, and while a revert runs, no deployment at all.

use std::time::Duration;

use cutover_core::api::Traffic;
use cutover_core::deployment::{Outcome, Part, Phase, State};
use cutover_engine::commands::Job;
use cutover_engine::driver;
use cutover_engine::world::World;
use tokio::task::JoinHandle;

use super::running::live;
use super::{Control, LOOK_BACK, NotRun, Refusal, RevertRequest};
use crate::journal::Entry;

mod active;
mod rerunning;
mod reruns;

pub(super) use rerunning::Reruns;
pub(super) use rerunning::Work;
use rerunning::{Place, end_of};

/// Who runs a command beside another deployment.
const BESIDE: &str = "the daemon";
/// Tries of such a command, and the pause between them.
const TRIES_BESIDE: u32 = 6;
const PAUSE_BESIDE: Duration = Duration::from_secs(5);

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
    /// Tell the hook "switched" once more what it was told last
    Switched,
}

/// A command that a deployment has left undone.
struct Left {
    entry: Entry,
    job: Job,
    /// The slot of the command. `None` if the slot now holds another version, so the command concerns only the database.
    slot: Option<String>,
}

impl Rerun {
    /// Its name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Revert => "revert",
            Self::Teardown => "teardown",
            Self::Decommission => "decommission",
            Self::Provision => "provision",
            Self::Switched => "switched",
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
        self.leading()?;
        if which == Rerun::Switched {
            return self.tell_again(group).await;
        }
        let policy = self.policy_or_last(group).await?;
        if which == Rerun::Revert && policy.database.is_some() {
            let wanted =
                RevertRequest { deployment: deployment.map(str::to_owned), ..RevertRequest::default() };
            return self.revert_database(group, wanted, asked_by).await.map(|done| done.deployment);
        }
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
        end_of(Work::Command(which), task).await
    }

    /// Continues the command with which a deployment was stopping a slot when another one began. Nobody waits for it.
    pub(super) fn clean_up_beside(&self, entry: &Entry) {
        let (jobs, plan) = (driver::jobs(&entry.deployment), &entry.deployment.plan);
        let Some(part) = plan.cleans_up(&entry.state) else { return };
        let (which, job) = match part {
            Part::Old => (Rerun::Decommission, jobs.decommission_old),
            Part::New => (Rerun::Teardown, jobs.tear_down_new),
        };
        if let Some(job) = job {
            let left = Left { entry: entry.clone(), job, slot: Some(plan.slot(part).to_owned()) };
            self.start(&plan.group, left, which, BESIDE);
        }
    }

    fn start(
        &self,
        group: &str,
        Left { entry, job, slot }: Left,
        which: Rerun,
        asked_by: &str,
    ) -> JoinHandle<Result<String, Refusal>> {
        let (control, asked_by) = (self.clone(), asked_by.to_owned());
        let place: Place = (group.to_owned(), slot.clone());
        let whose = (entry.deployment.id.clone(), Work::Command(which));
        self.run_in(place, whose, async move {
            match slot.filter(|_| asked_by == BESIDE) {
                Some(slot) => control.rerun_beside(entry, job, which, &slot).await,
                None => control.rerun(entry, job, which, &asked_by).await,
            }
        })
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
                        Err(NotRun::LeftEarlier { group, which: which_shown, id, later }.into())
                    }
                    Some(later) if wanted.is_some() => {
                        Err(NotRun::UsedSince { group, which: which_shown, id, later }.into())
                    }
                    Some(_) => break,
                };
            }
            if entry.outcome != Some(Outcome::Failed) {
                later.get_or_insert(id);
            }
        }
        Err(NotRun::NothingToRun {
            group: group.to_owned(),
            which: which.as_str(),
            wanted: wanted.map(str::to_owned),
        }
        .into())
    }

    /// Stops a slot beside another deployment. Nobody waits for it, so it tries again by itself. It does not touch a slot that
    /// has got traffic since.
    async fn rerun_beside(
        &self,
        entry: Entry,
        job: Job,
        which: Rerun,
        slot: &str,
    ) -> Result<String, Refusal> {
        let group = entry.deployment.plan.group.clone();
        let mut done = Err(Refusal::Interrupted("it was not tried".to_owned()));
        for _ in 0..TRIES_BESIDE {
            done = match self.may_touch(&group, slot, which).await {
                Ok(()) => self.rerun(entry.clone(), job.clone(), which, BESIDE).await,
                Err(refused) => Err(refused),
            };
            let is_in_use = |why: &Refusal| match why {
                Refusal::NotRun(why) => matches!(**why, NotRun::InUse { .. }),
                why => matches!(why, Refusal::Shared { .. }),
            };
            if done.as_ref().err().is_none_or(is_in_use) {
                break;
            }
            tokio::time::sleep(PAUSE_BESIDE).await;
        }
        if let Err(why) = &done {
            let (id, phase) = (&entry.deployment.id, entry.state.phase.name());
            let message = format!("slot \"{slot}\" is left running: {why}");
            tracing::warn!(deployment = id, group, "{message}");
            self.journal.note(id, self.clock.now(), phase, &message).await?;
        }
        done
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
            Err(failed) => Err(NotRun::failed(failed).into()),
        }
    }

    /// Fails if the slot has traffic. Unfinished requests prevent only a revert; other commands may cut them off.
    pub(super) async fn may_touch(&self, group: &str, slot: &str, which: Rerun) -> Result<(), Refusal> {
        let fleet = self.fleet(group);
        let groups = fleet.groups().await?;
        let Some(seen) = groups.iter().find(|seen| seen.name == group) else {
            return Err(Refusal::not_on_edge(&fleet.name(), group, &groups));
        };
        let is_in_the_way = |traffic: &Traffic| traffic.is_routed() || which == Rerun::Revert;
        let within = seen.shared_within(slot).filter(|_| which != Rerun::Revert);
        let shared = within.or_else(|| seen.shared_with(slot, &groups));
        if let Some(shared) = shared.filter(|shared| is_in_the_way(&shared.traffic)) {
            return Err(Refusal::Shared { slot: slot.to_owned(), shared: shared.into(), helps: None });
        }
        match seen.has_traffic(slot).filter(is_in_the_way) {
            Some(traffic) => {
                let other =
                    seen.slots.iter().find(|other| other.name != slot).map(|other| other.name.clone());
                let (group, slot) = (group.to_owned(), slot.to_owned());
                Err(NotRun::InUse { group, slot, which: which.as_str(), traffic, other }.into())
            }
            None => Ok(()),
        }
    }
}
