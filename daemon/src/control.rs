//! The operations of the control API. At most one deployment of a group runs at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use cutover_core::deployment::{Event, Phase, Plan, Time};
use cutover_edges::module::AdminAddress;
use cutover_engine::clock::{Clock, rfc3339};
use cutover_engine::driver::{self, Driver, Handle, Request};
use cutover_engine::journal::{Deployment, Unfinished};
use cutover_engine::policy::Policy;
use cutover_engine::world::World;
use tokio::sync::{Mutex, MutexGuard, oneshot};
use tokio::task::JoinHandle;

use crate::config::Loaded;
use crate::journal::{Entry, JournalError, KEPT, SqliteJournal};

mod by_hand;
mod refusal;
mod reload;
mod run;
mod status;
mod takeover;
mod target;
#[cfg(test)]
mod tests;
mod text;
mod way_back;

use run::Rerunning;
use target::Chosen;

pub use by_hand::ManualSwitch;
pub use refusal::Refusal;
pub use reload::{ConfigurationStatus, NeedsRestart};
pub use run::Rerun;
pub use status::{DeploymentStatus, GroupStatus, SlotStatus, SwitchStatus};
pub use text::{BadText, MAX_VERSION, Text};

/// A request for a deployment.
#[derive(Clone, Debug, Default)]
pub struct NewDeployment {
    /// The version. It may be empty if the commands do not need it.
    pub version: String,
    /// The slot. `None` chooses an idle slot, otherwise the warm one.
    pub to: Option<String>,
    /// Who requests it.
    pub asked_by: String,
}

/// Runs the deployments of all groups and answers operators. Clones share the state.
#[derive(Debug)]
pub struct Control<W> {
    /// The configuration, and when it was read.
    loaded: Arc<ArcSwap<(Loaded, Time)>>,
    world: Arc<W>,
    journal: SqliteJournal,
    clock: Clock,
    running: Arc<parking_lot::Mutex<BTreeMap<String, Arc<Current>>>>,
    reruns: Arc<parking_lot::Mutex<BTreeMap<String, Rerunning>>>,
    /// Held while a deployment begins, so two groups that share a server do not begin at the same time.
    beginning: Arc<Mutex<()>>,
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
        }
    }
}

/// How long a driver may take to report its phase. A journal that cannot be written delays it.
const SETTLING: std::time::Duration = std::time::Duration::from_secs(5);

/// Number of past deployments that a search considers.
const LOOK_BACK: u32 = 100;

/// How long a migration may delay the end of the daemon. Less than TimeoutStopSec in host/cutover.service.
const SHUTDOWN_GRACE: std::time::Duration = std::time::Duration::from_secs(60);

/// The running deployment of a group. The lock is held during each decision about the group.
type Current = Mutex<Option<Running>>;

#[derive(Debug)]
struct Running {
    id: String,
    handle: Handle,
    task: JoinHandle<()>,
}

impl Running {
    /// The current phase. It waits for the driver, because followers see a record a moment before the driver does.
    async fn phase(&self) -> Phase {
        let _ = tokio::time::timeout(SETTLING, self.tell(None)).await;
        self.handle.state.borrow().phase.clone()
    }

    async fn ask(&self, event: Event) -> Result<(), Refusal> {
        match self.tell(Some(event)).await {
            Ok(()) => Ok(()),
            Err(why) => Err(self.refusal(why).await),
        }
    }

    async fn tell(&self, event: Option<Event>) -> Result<(), String> {
        let (reply, answer) = oneshot::channel();
        let over = || "the deployment has just ended".to_owned();
        self.handle.requests.send(Request { event, reply }).await.map_err(|_| over())?;
        answer.await.unwrap_or_else(|_| Err(over()))
    }

    async fn refusal(&self, why: String) -> Refusal {
        Refusal::Unfit { id: self.id.clone(), phase: self.phase().await.name().to_owned(), why }
    }

    /// Waits until a running command that changes the database has ended and its end is in the journal, at most until `patience`.
    async fn past_database(&self, patience: tokio::time::Instant) {
        let mut state = self.handle.state.clone();
        let now = state.borrow().phase.clone();
        if now.changes_database() {
            tracing::info!(deployment = self.id, "waiting for the database command to end");
            let over = state.wait_for(|state| state.phase != now);
            if tokio::time::timeout_at(patience, over).await.is_err() {
                tracing::warn!(
                    deployment = self.id,
                    "the database command did not end in time and is killed"
                );
            }
        }
    }

    async fn is_live(&self) -> bool {
        !self.phase().await.is_final() && !self.handle.requests.is_closed()
    }
}

impl<W: World> Control<W> {
    /// Opens a control over the journal and resumes its unfinished deployments.
    pub async fn resume(
        loaded: Loaded,
        world: Arc<W>,
        journal: SqliteJournal,
        clock: Clock,
    ) -> Result<Self, JournalError> {
        let control = Self {
            loaded: Arc::new(ArcSwap::from_pointee((loaded, clock.now()))),
            world,
            journal,
            clock,
            running: Arc::default(),
            reruns: Arc::default(),
            beginning: Arc::default(),
        };
        for (deployment, why) in control.journal.close_unreadable(control.clock.now()).await? {
            tracing::error!(deployment, why, "the deployment cannot be read, so it is stuck");
            if let Err(error) = control.world.end(&deployment).await {
                tracing::warn!(deployment, %error, "failed to end its commands");
            }
        }
        // No driver takes care of leftover commands of deployments that are over.
        for deployment in control.journal.deployments_with_commands().await? {
            if let Err(error) = control.world.end(&deployment).await {
                tracing::warn!(deployment, %error, "failed to end its commands");
            }
        }
        let groups = control.groups();
        for group in &groups {
            control.prune(group).await;
        }
        for entry in control.journal.open_deployments().await? {
            let group = entry.deployment.plan.group.clone();
            tracing::info!(
                deployment = entry.deployment.id,
                group,
                phase = entry.state.phase.name(),
                "resuming the deployment"
            );
            let current = control.current(&group);
            *current.lock().await = Some(control.drive(entry));
        }
        for group in &groups {
            control.stand_by(group).await;
        }
        Ok(control)
    }

    /// The journal, for followers of a deployment.
    pub fn journal(&self) -> &SqliteJournal {
        &self.journal
    }

    /// Begins a deployment. Returns when its first record is on disk.
    pub async fn deploy(&self, group: &str, wanted: NewDeployment) -> Result<Deployment, Refusal> {
        let policy = self.policy(group)?;
        self.writable().await?;
        let current = self.current(group);
        let mut current = current.lock().await;
        self.nothing_reruns(group)?;
        if let Some(running) = self.not_warm(&current).await {
            return Err(running);
        }
        let _beginning = self.beginning.lock().await;
        let chosen = self.target(group, &policy, wanted.to.as_deref(), &current).await?;
        let deployment = self.planned(group, &policy, wanted, &chosen).await?;
        if let Some(missing) = self.world.abilities().missing_for(&deployment.plan) {
            return Err(Refusal::Unable { edge: self.world.name().to_owned(), missing });
        }
        let state = deployment.plan.begin(self.clock.now());
        let message = driver::first_message(&deployment, &chosen.gives_up, &state);
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
        self.policy_or_last(group).await?;
        let current = self.current(group);
        let current = current.lock().await;
        let Some(running) = live(&current).await else {
            return Err(Refusal::NothingToAbort(group.to_owned()));
        };
        if running.phase().await.outcome().is_some() {
            return Err(Refusal::AlreadyCompleted { id: running.id.clone(), group: group.to_owned() });
        }
        self.verify_way_back(group, running).await?;
        let why = format!("aborted by {asked_by}");
        running.ask(Event::Abort(why)).await?;
        Ok(running.id.clone())
    }

    /// Starts to roll back the deployment of a group. Returns its id.
    pub async fn rollback(&self, group: &str, asked_by: &str) -> Result<String, Refusal> {
        let policy = self.policy_or_last(group).await?;
        let current = self.current(group);
        let current = current.lock().await;
        let Some(running) = live(&current).await else {
            return Err(self.no_way_back(group, &policy).await?);
        };
        match running.phase().await {
            Phase::Warm { .. } | Phase::Soaking { .. } | Phase::Draining { .. } => {
                self.verify_way_back(group, running).await?;
            }
            Phase::Decommissioning(_) => return Err(self.no_way_back(group, &policy).await?),
            Phase::RollingBack { .. } | Phase::TearingDown { .. } => {
                return Err(running.refusal("it is already being undone".to_owned()).await);
            }
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
        let running: Vec<Arc<Current>> = self.running.lock().values().map(Arc::clone).collect();
        let patience = tokio::time::Instant::now() + SHUTDOWN_GRACE;
        for current in running {
            let mut current = current.lock().await;
            if let Some(running) = current.take() {
                running.past_database(patience).await;
                running.task.abort();
                let _ = running.task.await;
            }
        }
        self.end_reruns(patience).await;
        for entry in self.journal.open_deployments().await.unwrap_or_default() {
            if let Err(error) = self.world.end(&entry.deployment.id).await {
                tracing::warn!(deployment = entry.deployment.id, %error, "failed to end its commands");
            }
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
        let id = entry.deployment.id.clone();
        let group = entry.deployment.plan.group.clone();
        let (world, journal) = (Arc::clone(&self.world), self.journal.clone());
        let unfinished = Unfinished { deployment: entry.deployment, state: entry.state };
        let (driver, handle) = Driver::new(world, journal, self.clock, unfinished);
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
                tracing::error!(deployment = name, %error, "the driver stopped: the journal takes no more records");
            }
            control.prune(&group).await;
            control.stand_by(&group).await;
        });
        Running { id, handle, task }
    }

    async fn planned(
        &self,
        group: &str,
        policy: &Policy,
        wanted: NewDeployment,
        Chosen { from, to, served, .. }: &Chosen,
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
            soak: policy.soak.duration.get(),
            accept_inconclusive: policy.soak.accepts_inconclusive(),
            drain: policy.drain.deadline.get(),
            warm: policy.warm.get(),
            served: *served,
        };
        let NewDeployment { version, asked_by, .. } = wanted;
        Ok(Deployment { id, version, previous, asked_by, started, plan, policy: policy.clone() })
    }

    /// The names of the groups in the configuration.
    fn groups(&self) -> Vec<String> {
        self.loaded.load().0.config.group.keys().map(|name| name.as_str().to_owned()).collect()
    }

    /// The policy of a group for a new deployment. Fails if the configuration does not have the group.
    fn policy(&self, group: &str) -> Result<Policy, Refusal> {
        let loaded = self.loaded.load();
        let (Loaded { config, path, broken, .. }, _) = &**loaded;
        match (config.group(group), broken) {
            (Some(policy), _) => Ok(policy.clone()),
            (None, Some(why)) => Err(Refusal::BrokenConfiguration { file: path.clone(), why: why.clone() }),
            (None, None) => Err(self.unknown_group(group)),
        }
    }

    /// The policy of a group, or of its last deployment if the group is no longer in the configuration.
    async fn policy_or_last(&self, group: &str) -> Result<Policy, Refusal> {
        match self.policy(group) {
            Ok(policy) => Ok(policy),
            Err(refused) => {
                let last = self.journal.history(Some(group), 1).await?.pop();
                last.map(|entry| entry.deployment.policy).ok_or(refused)
            }
        }
    }

    fn unknown_group(&self, group: &str) -> Refusal {
        Refusal::UnknownGroup { group: group.to_owned(), known: self.groups() }
    }

    /// Fails if this daemon can only read the edge.
    async fn writable(&self) -> Result<(), Refusal> {
        let (name, section) = self.loaded.load().0.config.edge.clone();
        if let (AdminAddress::Tcp(_), None) = (&section.admin, &section.token_file) {
            return Err(Refusal::ReadsOnly { edge: name.to_string(), admin: section.admin.to_string() });
        }
        // Running deployments use the last token that nginx accepted. A new one needs a readable token.
        Ok(section.module(name.as_str()).check_token().await?)
    }

    fn reruns(&self) -> parking_lot::MutexGuard<'_, BTreeMap<String, Rerunning>> {
        self.reruns.lock()
    }

    fn current(&self, group: &str) -> Arc<Current> {
        let mut running = self.running.lock();
        Arc::clone(running.entry(group.to_owned()).or_default())
    }

    /// Returns a refusal if the group has a running deployment that is not warm.
    async fn not_warm(&self, current: &MutexGuard<'_, Option<Running>>) -> Option<Refusal> {
        let running = live(current).await?;
        let phase = running.phase().await;
        (!matches!(phase, Phase::Warm { .. }))
            .then(|| Refusal::Busy { id: running.id.clone(), phase: phase.name().to_owned() })
    }
}

async fn live<'a>(current: &'a MutexGuard<'_, Option<Running>>) -> Option<&'a Running> {
    match current.as_ref() {
        Some(running) if running.is_live().await => Some(running),
        _ => None,
    }
}
