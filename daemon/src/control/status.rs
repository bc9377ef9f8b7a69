//! The status of groups and deployments, as the control API shows it.

use std::collections::BTreeSet;

use cutover_core::api::{Group as Seen, Peer, Slot, Traffic, TrialState};
use cutover_core::deployment::{Outcome, Phase, Time};
use cutover_core::fraction::{Percent, Share};
use cutover_core::rates::Rates;
use cutover_core::verdict::{Figures, Glance};
use cutover_engine::clock::rfc3339;
use cutover_engine::commands::SmokeResult;
use cutover_engine::edge::EdgeError;
use cutover_engine::fleet::Survey;
use cutover_engine::world::World;
use serde::{Deserialize, Serialize};

use super::edges::EdgeStatus;
use super::sampling::Recently;
use super::{Control, FreezeStatus, HealthStatus, HookStatus, LeaderStatus, Refusal};
use crate::journal::{Entry, JournalError};

mod cleaning;
mod ending;
mod next;
mod timing;
mod words;

pub use cleaning::CleanUp;
pub use ending::Ending;
pub use next::NextStep;
pub use timing::PhaseTime;

/// The status of a group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// Its name.
    pub group: String,
    /// The active slot. `None` if nginx cannot be read.
    pub active: Option<String>,
    /// The route's generation.
    pub generation: Option<u32>,
    /// The health of the active slot.
    #[serde(default)]
    pub health: HealthStatus,
    /// Its slots.
    pub slots: Vec<SlotStatus>,
    /// Why nginx cannot be read, or that it has no such group.
    pub edge_error: Option<String>,
    /// What each of several edges says. Empty for a group with one edge.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edges: Vec<EdgeStatus>,
    /// What the hook `switched` was told last. `None`: the group has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switched: Option<HookStatus>,
    /// The freeze of the group, or of all groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<FreezeStatus>,
    /// The last change of the route, while it is on trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialState>,
    /// The last deployment.
    pub deployment: Option<DeploymentStatus>,
    /// The commands that stop slots now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cleaning_up: Vec<CleanUp>,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<NextStep>,
    /// Why no daemon was asked: this status is what nginx says, and the health is that of one probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daemon_away: Option<String>,
    /// Which daemon leads; only with a store in etcd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<LeaderStatus>,
}

/// The status of a slot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SlotStatus {
    /// Its name.
    pub name: String,
    /// Whether it is active.
    pub active: bool,
    /// Why it has traffic. `None` if it has none.
    pub traffic: Option<Traffic>,
    /// Whether it is the standby.
    pub standby: bool,
    /// The version in the slot, as far as the journal knows.
    pub version: Option<String>,
    /// The command that an ended deployment runs on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Its servers.
    pub peers: Vec<Peer>,
    /// Number of unfinished requests, previews included.
    pub in_flight: u64,
    /// Number of upgraded connections among them.
    #[serde(default)]
    pub upgraded: u64,
    /// Its part of the traffic in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<Percent>,
    /// Its health, from the probes that run all the time. Unknown while a deployment probes it.
    #[serde(default)]
    pub health: HealthStatus,
    /// What it did in the last 10 seconds. Absent: nothing is counted, or it was not watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_10_s: Option<Rates>,
    /// What it did in the last minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_60_s: Option<Rates>,
}

/// The status of a deployment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeploymentStatus {
    /// Its id.
    pub deployment: String,
    /// Its group.
    pub group: String,
    /// The version.
    pub version: String,
    /// The version before it.
    pub previous_version: String,
    /// The slot that had the traffic.
    pub from: String,
    /// The slot that got it.
    pub to: String,
    /// The groups whose deployments move together with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<String>,
    /// Its phase.
    pub phase: String,
    /// The step of the traffic, from 1.
    pub step: usize,
    /// Number of steps. The last one gives the new version all of the traffic.
    pub steps: usize,
    /// Who has paused it. `None` if it is not paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_by: Option<String>,
    /// What is wrong with the old slot after a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub but: Option<String>,
    /// Whether an operator must act.
    #[serde(default)]
    pub needs_operator: bool,
    /// What the new version has done until now, while it is watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figures: Option<Figures>,
    /// What its smoke tests have come to, on this host. Only for the last deployment of a group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub smoke: Vec<SmokeResult>,
    /// The figures that fit into one line, beside those of the old version; of its last record, if it is not watched now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub glance: Option<Glance>,
    /// When its phase ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timing: Option<PhaseTime>,
    /// Failed tries of the step that is tried again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tries: u32,
    /// How it ended. Absent while it runs, and if it completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// Its outcome. `None` while it runs.
    pub outcome: Option<Outcome>,
    /// Its last message.
    pub message: String,
    /// Who requested it.
    pub asked_by: String,
    /// Why, in the words of that person. Empty if no reason was given.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When it began.
    pub started: String,
    /// When its last message was written.
    pub updated: String,
    /// When it had its outcome; only in the history and in a report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl DeploymentStatus {
    pub(super) fn of(entry: Entry, now: Time) -> Self {
        let timing = entry.deployment.plan.timing(&entry.state).map(|timing| PhaseTime::at(timing, now));
        let ending = Ending::of(&entry.deployment, &entry.state);
        let deployment = entry.deployment;
        Self {
            timing,
            ending,
            tries: entry.state.phase.failed_tries(),
            glance: entry.state.glance.clone(),
            deployment: deployment.id,
            group: deployment.plan.group,
            version: deployment.version,
            previous_version: deployment.previous,
            from: deployment.plan.from,
            to: deployment.plan.to,
            with: deployment.plan.with.into_iter().map(|companion| companion.group).collect(),
            phase: entry.state.phase.name().to_owned(),
            step: entry.state.step + 1,
            steps: deployment.plan.steps.last() + 1,
            but: match &entry.state.phase {
                Phase::RolledBack { but, .. } => but.clone(),
                _ => None,
            },
            needs_operator: entry.state.phase.needs_operator(),
            paused_by: entry.state.paused,
            figures: None,
            smoke: Vec::new(),
            outcome: entry.outcome,
            message: entry.message,
            asked_by: deployment.asked_by,
            reason: deployment.reason,
            started: rfc3339(deployment.started),
            updated: rfc3339(entry.updated),
            ended: None,
        }
    }
}

impl<W: World> Control<W> {
    /// The status of all groups in the configuration, and of other groups with an unfinished deployment.
    pub async fn status(&self) -> Result<Vec<GroupStatus>, Refusal> {
        let survey = self.world.fleet(&[]).survey().await;
        let mut all = Vec::new();
        let mut groups = BTreeSet::from_iter(self.groups());
        groups.extend(
            self.journal.open_deployments().await?.into_iter().map(|entry| entry.deployment.plan.group),
        );
        for group in &groups {
            let seen = self.of_survey(group, &survey);
            all.push(self.status_of(group, seen).await?);
        }
        Ok(all)
    }

    /// The status of one group.
    pub async fn group_status(&self, group: &str) -> Result<GroupStatus, Refusal> {
        self.policy_or_last(group).await?;
        let survey = self.fleet(group).survey().await;
        self.status_of(group, self.of_survey(group, &survey)).await
    }

    /// A group over its edges, and what each of several edges says.
    fn of_survey(&self, group: &str, survey: &Survey) -> (Result<Seen, String>, Vec<EdgeStatus>) {
        let fleet = self.fleet(group);
        let (mut found, mut edges, mut failed) = (Vec::new(), Vec::new(), None);
        for (edge, groups) in survey.iter().filter(|(edge, _)| fleet.names().any(|name| name == edge)) {
            let seen = match groups {
                Ok(groups) => groups
                    .iter()
                    .find(|seen| seen.name == *group)
                    .ok_or_else(|| Refusal::not_on_edge(edge, group, groups).to_string()),
                Err(error) => Err(error.to_string()),
            };
            edges.push(EdgeStatus::of(edge, &seen, fleet.away_for(edge)));
            match seen {
                Ok(seen) => found.push(seen),
                Err(why) if groups.is_err() && fleet.is_several() => {
                    failed = Some(format!("edge \"{edge}\": {why}"))
                }
                Err(why) => failed = Some(why),
            }
        }
        let no_edge = || failed.unwrap_or_else(|| EdgeError::NoEdge.to_string());
        let edges = if fleet.is_several() { edges } else { Vec::new() };
        (Seen::merged(&found).ok_or_else(no_edge), edges)
    }

    async fn status_of(
        &self,
        group: &str,
        (seen, edges): (Result<Seen, String>, Vec<EdgeStatus>),
    ) -> Result<GroupStatus, Refusal> {
        let entry = self.journal.history(Some(group), 1).await?.pop();
        let cleaning_up = self.cleaning_up(group, entry.as_ref());
        let smoke = match &entry {
            Some(last) => self.world.kept(&last.deployment.id).await,
            None => Vec::new(),
        };
        let last = entry.map(|entry| DeploymentStatus::of(entry, self.clock.now()));
        let deployment = last.map(|last| DeploymentStatus { smoke, ..self.with_figures(last) });
        let status = GroupStatus {
            group: group.to_owned(),
            active: None,
            generation: None,
            health: HealthStatus::default(),
            slots: Vec::new(),
            edge_error: None,
            edges,
            switched: self.hook(group).await?,
            frozen: self.freeze_of(group).await?.map(FreezeStatus::from),
            trial: None,
            deployment,
            cleaning_up,
            next: None,
            daemon_away: None,
            leader: self.leader(),
        };
        let status = match seen {
            Ok(seen) => GroupStatus {
                active: Some(seen.route.active.clone()),
                generation: Some(seen.route.generation),
                health: self.vigils.health(self.clock.now(), group, &seen.route.active),
                trial: seen.route.trial.clone(),
                slots: self.slots(seen).await?,
                ..status
            },
            Err(error) => GroupStatus { edge_error: Some(error), ..status },
        };
        Ok(GroupStatus { next: NextStep::of(&status), ..status })
    }

    /// The status with what the new version has done until now, if it is watched and no request of an operator is being decided.
    fn with_figures(&self, status: DeploymentStatus) -> DeploymentStatus {
        let current = self.current(&status.group);
        let Ok(current) = current.try_lock() else { return status };
        let running = current.as_ref().filter(|running| running.id == status.deployment);
        let Some(running) = running.filter(|running| running.handle.state.borrow().phase.judges()) else {
            return status;
        };
        let (figures, glance) = (running.handle.figures(), running.handle.glance().or(status.glance.clone()));
        DeploymentStatus { figures, glance, ..status }
    }

    /// The status of one deployment.
    pub async fn deployment(&self, id: &str) -> Result<DeploymentStatus, Refusal> {
        let entry = self.journal.entry(id).await?;
        let entry = entry.ok_or_else(|| Refusal::UnknownDeployment(id.to_owned()))?;
        Ok(self.with_figures(DeploymentStatus::of(entry, self.clock.now())))
    }

    async fn slots(&self, seen: Seen) -> Result<Vec<SlotStatus>, JournalError> {
        let mut slots = Vec::new();
        let standby = seen.standby().map(|slot| slot.name.clone());
        let reruns = self.slots_of_reruns(&seen.name);
        for slot in seen.slots.clone() {
            let is_active = slot.name == seen.route.active;
            let Recently { last_10_s, last_60_s } =
                self.samples.recently(self.clock.now(), &seen.name, &slot.name);
            slots.push(SlotStatus {
                upgraded: slot.upgraded(),
                share: share(&seen, &slot),
                health: match is_active {
                    true => self.vigils.health(self.clock.now(), &seen.name, &slot.name),
                    false => self.samples.health(self.clock.now(), &seen.name, &slot.name),
                },
                last_10_s,
                last_60_s,
                active: slot.name == seen.route.active,
                traffic: seen.has_traffic(&slot.name),
                standby: standby.as_ref() == Some(&slot.name),
                command: reruns
                    .iter()
                    .find(|(its, _)| *its == slot.name)
                    .map(|(_, which)| (*which).to_owned()),
                version: self.journal.version_in(&seen.name, &slot.name).await?,
                in_flight: slot.in_flight(),
                name: slot.name,
                peers: slot.peers,
            });
        }
        Ok(slots)
    }
}

/// The part of the traffic that a slot gets. `None`: nothing.
pub fn share(seen: &Seen, slot: &Slot) -> Option<Percent> {
    let route = &seen.route;
    match (&route.split, slot.name == route.active) {
        (Some(split), _) => split.get(&slot.name).copied().filter(|percent| percent.parts() > 0),
        (None, true) => Percent::from_parts(Share::WHOLE),
        (None, false) => None,
    }
}
