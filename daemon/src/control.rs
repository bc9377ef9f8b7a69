//! The operations of the control API. At most one deployment of a group runs at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use cutover_core::deployment::{Event, Phase, Plan, Time};
use cutover_engine::clock::{Clock, rfc3339};
use cutover_engine::driver::{self, Driver};
use cutover_engine::journal::{Deployment, Unfinished};
use cutover_engine::policy::Policy;
use cutover_engine::world::World;
use futures_util::future::join_all;
use tokio::sync::{Mutex, MutexGuard};

use crate::config::Loaded;
use crate::journal::{Entry, JournalError, KEPT, Store};

mod again;
mod by_hand;
mod edges;
mod leading;
mod policy;
mod refusal;
mod reload;
mod repair;
mod run;
mod running;
mod status;
mod steering;
mod takeover;
mod target;
#[cfg(test)]
mod tests;
mod text;
mod vigil;
mod way_back;

use edges::text_of_excluded;
use run::Reruns;
use running::{Current, Running, live};
use target::Chosen;
use vigil::Vigils;

pub use by_hand::ManualSwitch;
pub use edges::EdgeStatus;
pub use leading::LeaderStatus;
pub use refusal::{NOT_LEADER, Refusal, UNKNOWN_DEPLOYMENT};
pub use reload::{ConfigurationStatus, NeedsRestart};
pub use run::Rerun;
pub use status::{DeploymentStatus, GroupStatus, SlotStatus, SwitchStatus};
pub use steering::Steering;
pub use text::{BadText, MAX_VERSION, Text};
pub use vigil::{HealthState, HealthStatus};

/// A request for a deployment.
#[derive(Clone, Debug, Default)]
pub struct NewDeployment {
    /// The version. It may be empty if the commands do not need it.
    pub version: String,
    /// The slot. `None` chooses an idle slot, otherwise the warm one.
    pub to: Option<String>,
    /// Whether to deploy a version that was taken back a short time ago.
    pub again: bool,
    /// Who requests it.
    pub asked_by: String,
}

/// Runs the deployments of all groups and answers operators. Clones share the state.
#[derive(Debug)]
pub struct Control<W> {
    /// The configuration, and when it was read.
    loaded: Arc<ArcSwap<(Loaded, Time)>>,
    world: Arc<W>,
    journal: Store,
    clock: Clock,
    running: Arc<parking_lot::Mutex<BTreeMap<String, Arc<Current>>>>,
    reruns: Arc<parking_lot::Mutex<Reruns>>,
    /// Held while a deployment begins, so two groups that share a server do not begin at the same time.
    beginning: Arc<Mutex<()>>,
    vigils: Arc<Vigils>,
    /// Whether the unfinished deployments have drivers. No request changes anything before that.
    is_resumed: Arc<AtomicBool>,
}

impl<W> Clone for Control<W> {
    fn clone(&self) -> Self {
        Self {
            loaded: Arc::clone(&self.loaded),
            world: Arc::clone(&self.world),
            journal: self.journal.clone(),
            clock: self.clock,
            running: Arc::clone(&self.running),
            reruns: Arc::clone(&self.reruns),
            beginning: Arc::clone(&self.beginning),
            vigils: Arc::clone(&self.vigils),
            is_resumed: Arc::clone(&self.is_resumed),
        }
    }
}

/// Number of past deployments that a search considers.
const LOOK_BACK: u32 = 100;

/// How long a migration may delay the end of the daemon. Less than TimeoutStopSec in host/cutover.service.
const SHUTDOWN_GRACE: std::time::Duration = std::time::Duration::from_secs(60);

impl<W: World> Control<W> {
    /// A control over the journal. It drives nothing until it [leads](Control::lead).
    pub fn new(loaded: Loaded, world: Arc<W>, journal: impl Into<Store>, clock: Clock) -> Self {
        Self {
            loaded: Arc::new(ArcSwap::from_pointee((loaded, clock.now()))),
            world,
            journal: journal.into(),
            clock,
            running: Arc::default(),
            reruns: Arc::default(),
            beginning: Arc::default(),
            vigils: Arc::default(),
            is_resumed: Arc::default(),
        }
    }

    /// Opens a control over the journal and resumes its unfinished deployments.
    pub async fn resume(
        loaded: Loaded,
        world: Arc<W>,
        journal: impl Into<Store>,
        clock: Clock,
    ) -> Result<Self, JournalError> {
        let control = Self::new(loaded, world, journal, clock);
        control.resume_all(false).await?;
        control.keep_vigils();
        Ok(control)
    }

    /// Resumes the unfinished deployments. `takes_over`: another process may have driven them until now.
    async fn resume_all(&self, takes_over: bool) -> Result<(), JournalError> {
        for (deployment, why) in self.journal.close_unreadable(self.clock.now()).await? {
            tracing::error!(deployment, why, "the deployment cannot be read, so it is stuck");
            self.end_commands(&deployment).await;
        }
        let groups = self.groups();
        // A soak has a lease to renew, so drivers begin first. Each ends the leftover commands of its deployment.
        let open = self.journal.open_deployments().await?;
        let with_commands = self.journal.deployments_with_commands().await?;
        let is_open = |id: &String| open.iter().any(|entry| entry.deployment.id == *id);
        let over: Vec<String> = with_commands.into_iter().filter(|id| !is_open(id)).collect();
        for entry in open {
            let group = entry.deployment.plan.group.clone();
            tracing::info!(
                deployment = entry.deployment.id,
                group,
                phase = entry.state.phase.name(),
                "resuming the deployment"
            );
            let current = self.current(&group);
            let mut current = current.lock().await;
            // A second try of a resumption that failed in between.
            if current.as_ref().is_none_or(|running| running.id != entry.deployment.id) {
                *current = Some(self.drive_on(entry, takes_over));
            }
        }
        self.is_resumed.store(true, Ordering::Release);
        // No driver takes care of leftover commands of deployments that are over.
        join_all(over.iter().map(|id| self.end_leftover(id))).await;
        for group in &groups {
            self.prune(group).await;
            self.stand_by(group).await;
        }
        Ok(())
    }

    /// The journal, for followers of a deployment.
    pub fn journal(&self) -> &Store {
        &self.journal
    }

    /// Begins a deployment. Returns when its first record is on disk.
    pub async fn deploy(&self, group: &str, wanted: NewDeployment) -> Result<Deployment, Refusal> {
        self.leading()?;
        let policy = self.policy(group)?;
        if let Some(key) = policy.needs_version().filter(|_| wanted.version.is_empty()) {
            return Err(Refusal::NeedsVersion { group: group.to_owned(), key, to: wanted.to });
        }
        self.writable(&policy).await?;
        let current = self.current(group);
        let mut current = current.lock().await;
        if let Some(busy) = self.busy(group, &current).await {
            return Err(busy);
        }
        self.was_not_taken_back(group, &policy, &wanted).await?;
        let _beginning = self.beginning.lock().await;
        let excluded = self.missing_edges(group, &policy).await?;
        let fleet = self.fleet(group).without(&excluded);
        let chosen = self.target(group, &policy, wanted.to.as_deref(), (&fleet, &current)).await?;
        self.nothing_stops(group, &chosen.to, &current).await?;
        self.nothing_reruns_on(group, &chosen.to)?;
        let mut deployment = self.planned(group, &policy, wanted, &chosen).await?;
        deployment.plan.excluded = excluded;
        deployment.plan.probes_only = fleet.abilities().leaves_probes_only(&policy);
        if let Some(missing) = fleet.abilities().missing_for(&deployment.plan) {
            return Err(Refusal::Unable { edge: fleet.name(), missing });
        }
        let without = fleet.abilities().goes_without(&policy).into_iter().map(str::to_owned);
        let alone = text_of_excluded(&deployment.plan.excluded);
        let clauses: Vec<String> = chosen.clauses().into_iter().chain(without).chain(alone).collect();
        let state = deployment.plan.begin(self.clock.now());
        let message = driver::first_message(&deployment, &clauses, &state);
        let deployment = self.take_over(&mut current, deployment, &state, &message).await?;
        tracing::info!(deployment = deployment.id, group, phase = state.phase.name(), "{message}");
        let entry = Entry {
            deployment: deployment.clone(),
            updated: deployment.started,
            state,
            outcome: None,
            message,
        };
        *current = Some(self.drive(entry));
        Ok(deployment)
    }

    /// Starts to abort the running deployment of a group. Returns its id.
    pub async fn abort(&self, group: &str, asked_by: &str) -> Result<String, Refusal> {
        self.leading()?;
        self.policy_or_last(group).await?;
        let current = self.current(group);
        let current = current.lock().await;
        let Some((running, phase)) = live(&current).await else {
            let ended = self.end_reruns_of(group).await;
            return ended.ok_or(Refusal::NothingUnderWay { group: group.to_owned(), verb: "abort" });
        };
        if phase.outcome().is_some() && running.stopping().await.is_none() {
            if let Some(ended) = self.end_reruns_of(group).await {
                return Ok(ended);
            }
            return Err(Refusal::AlreadyCompleted { id: running.id.clone(), group: group.to_owned() });
        }
        self.verify_way_back(group, running).await?;
        let why = format!("aborted by {asked_by}");
        running.ask(Event::Abort(why)).await?;
        Ok(running.id.clone())
    }

    /// Starts to roll back the deployment of a group. Returns its id.
    pub async fn rollback(&self, group: &str, asked_by: &str) -> Result<String, Refusal> {
        self.leading()?;
        let policy = self.policy_or_last(group).await?;
        let current = self.current(group);
        let current = current.lock().await;
        let Some((running, phase)) = live(&current).await else {
            return Err(self.no_way_back(group, &policy).await?);
        };
        match phase {
            Phase::Warm { .. } | Phase::Soaking { .. } | Phase::Confirming(_) | Phase::Draining { .. } => {
                self.verify_way_back(group, running).await?;
            }
            Phase::Decommissioning(_) => {
                let (slot, state) = (&running.plan().from, running.state().await);
                return Err(Refusal::being_stopped(group, slot, &running.deployment, &state));
            }
            Phase::RollingBack { .. } | Phase::TearingDown { .. } => {
                return Err(running.refusal("it is already being undone".to_owned()).await);
            }
            // Users are on the new version already, with the share of an earlier step.
            Phase::Switching(_) if running.has_share() => {}
            _ => {
                return Err(Refusal::NotSwitchedYet { id: running.id.clone(), group: group.to_owned() });
            }
        }
        let why = format!("rolled back by {asked_by}");
        running.ask(Event::Rollback(why)).await?;
        Ok(running.id.clone())
    }

    /// Stops all drivers and then ends their commands, so a killed command does not count as failed. A command that changes a
    /// database has a minute to end. The next daemon resumes from the journal.
    pub async fn stop(&self) {
        self.vigils.stop();
        let running: Vec<Arc<Current>> = self.running.lock().values().map(Arc::clone).collect();
        let patience = tokio::time::Instant::now() + SHUTDOWN_GRACE;
        // All drivers go on meanwhile: one that waits must not let the lease of another run out.
        for current in &running {
            if let Some(running) = current.lock().await.as_ref() {
                running.past_database(patience).await;
            }
        }
        self.end_reruns(patience).await;
        for current in running {
            if let Some(running) = current.lock().await.take() {
                // It may have come to its database command meanwhile.
                running.past_database(patience).await;
                running.task.abort();
                let _ = running.task.await;
            }
        }
        if !self.journal.leads() {
            return;
        }
        for entry in self.journal.open_deployments().await.unwrap_or_default() {
            self.end_commands(&entry.deployment.id).await;
        }
    }

    /// Ends the abandoned commands of a deployment that is over, and notes that.
    async fn end_leftover(&self, id: &str) {
        self.end_commands(id).await;
        let Ok(Some(entry)) = self.journal.entry(id).await else { return };
        let message = "the end of the daemon has ended a command of this deployment; look at its output, and run it again if it is \
                       still needed: cutover run";
        tracing::warn!(deployment = id, "{message}");
        let noted = self.journal.note(id, self.clock.now(), entry.state.phase.name(), message).await;
        if let Err(error) = noted {
            tracing::warn!(deployment = id, %error, "failed to write a note");
        }
    }

    /// Ends the abandoned commands of a deployment. A failure is only logged.
    async fn end_commands(&self, deployment: &str) {
        if let Err(error) = self.world.end(deployment).await {
            tracing::warn!(deployment, %error, "failed to end its commands");
        }
    }

    /// Deletes a group's old deployments. A failure is only logged.
    async fn prune(&self, group: &str) {
        match self.journal.prune(group, KEPT).await {
            Ok(ids) => {
                for id in ids {
                    self.world.forget(&id).await;
                }
            }
            Err(error) => tracing::warn!(group, %error, "failed to delete old deployments"),
        }
    }

    fn drive(&self, entry: Entry) -> Running {
        self.drive_on(entry, false)
    }

    /// Like [`Control::drive`]. `takes_over`: another process may have driven the deployment until now.
    fn drive_on(&self, entry: Entry, takes_over: bool) -> Running {
        let id = entry.deployment.id.clone();
        let deployment = entry.deployment.clone();
        let group = deployment.plan.group.clone();
        let (world, journal) = (Arc::clone(&self.world), self.journal.pinned());
        let unfinished = Unfinished { deployment: entry.deployment, state: entry.state };
        let (driver, handle) = Driver::new(world, journal, self.clock, unfinished);
        let driver = if takes_over { driver.taking_over() } else { driver };
        self.vigils.follow(&group, handle.state.clone());
        let (name, control) = (id.clone(), self.clone());
        let mut state = handle.state.clone();
        let (live, live_group) = (self.clone(), group.clone());
        tokio::spawn(async move {
            if state.wait_for(|state| matches!(state.phase, Phase::Warm { .. })).await.is_ok() {
                live.stand_by(&live_group).await;
            }
        });
        let task = tokio::spawn(async move {
            if let Err(error) = driver.run().await {
                tracing::error!(deployment = name, %error, "the driver stopped");
                return;
            }
            control.prune(&group).await;
            control.stand_by(&group).await;
        });
        Running { id, handle, task, deployment }
    }

    async fn planned(
        &self,
        group: &str,
        policy: &Policy,
        wanted: NewDeployment,
        Chosen { from, to, served, known, .. }: &Chosen,
    ) -> Result<Deployment, JournalError> {
        let started = self.clock.now();
        let stamp: String = rfc3339(started).chars().take(19).filter(char::is_ascii_alphanumeric).collect();
        let id = self.journal.free_id(format!("{group}-{}", stamp.replace('T', "-"))).await?;
        let previous = self.journal.version_in(group, from).await?.unwrap_or_default();
        let plan = Plan {
            group: group.to_owned(),
            from: from.clone(),
            to: to.clone(),
            migrate: policy.migrate.is_some(),
            provision: policy.provision.is_some(),
            revert: policy.revert.is_some(),
            decommission: policy.decommission.is_some(),
            probe_deadline: policy.probe.deadline.get(),
            steps: policy.steps.get(),
            soak: policy.soak.duration.get(),
            extend: policy.soak.extended_by().unwrap_or_default(),
            accept_inconclusive: policy.soak.accepts_inconclusive(),
            drain: policy.drain.deadline.get(),
            warm: policy.warm_window(),
            served: served.clone(),
            probes_only: false,
            known: known.as_ref().map(|known| known.evidence.clone()).unwrap_or_default(),
            excluded: Vec::new(),
        };
        let NewDeployment { version, asked_by, .. } = wanted;
        Ok(Deployment { id, version, previous, asked_by, started, plan, policy: policy.clone() })
    }

    fn reruns(&self) -> parking_lot::MutexGuard<'_, Reruns> {
        self.reruns.lock()
    }

    fn current(&self, group: &str) -> Arc<Current> {
        let mut running = self.running.lock();
        Arc::clone(running.entry(group.to_owned()).or_default())
    }

    /// Returns a refusal if the group has a running deployment whose work nothing may disturb.
    async fn busy(&self, group: &str, current: &MutexGuard<'_, Option<Running>>) -> Option<Refusal> {
        let (running, phase) = live(current).await?;
        let state = running.state().await;
        let plan = running.plan();
        (!plan.may_be_superseded(&state)).then(|| Refusal::Busy {
            id: running.id.clone(),
            phase: phase.name().to_owned(),
            group: Some(group.to_owned()),
            may_abort: plan.step(&state, Event::Abort(String::new()), self.clock.now()).is_ok(),
        })
    }

    /// Fails if the running deployment stops this slot now.
    async fn nothing_stops(
        &self,
        group: &str,
        slot: &str,
        current: &MutexGuard<'_, Option<Running>>,
    ) -> Result<(), Refusal> {
        match live(current).await {
            Some((running, _)) if running.stopping().await.as_deref() == Some(slot) => {
                let state = running.state().await;
                Err(Refusal::being_stopped(group, slot, &running.deployment, &state))
            }
            _ => Ok(()),
        }
    }
}
