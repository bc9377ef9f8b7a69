//! The operations of the control API. At most one deployment of a group runs at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use cutover_core::deployment::{Event, Phase, Time};
use cutover_engine::clock::Clock;
use cutover_engine::companions::Companions;
use cutover_engine::driver::Driver;
use cutover_engine::journal::Unfinished;
use cutover_engine::world::World;
use futures_util::future::join_all;
use tokio::sync::{Mutex, MutexGuard};

use crate::config::Loaded;
use crate::journal::{Entry, JournalError, KEPT, Store};

mod acts;
mod again;
mod begin;
mod by_hand;
mod database;
mod edges;
mod freezing;
mod leading;
mod past;
mod policy;
mod refusal;
mod reload;
mod repair;
mod report;
mod run;
mod running;
mod sampling;
mod status;
mod steering;
mod switched;
mod takeover;
mod target;
#[cfg(test)]
mod tests;
mod text;
mod together;
mod undo;
mod vigil;
mod waiting;
mod way_back;

use run::Reruns;
use running::{Current, Running, live};
use sampling::Samples;
use switched::Hooks;
use vigil::Vigils;
use waiting::Line;

pub use acts::ActStatus;
pub use by_hand::{ManualSwitch, move_route};
pub use database::{AppliedMigration, DatabaseDone, DatabaseStatus, RevertRequest};
pub use edges::EdgeStatus;
pub use freezing::{FreezeStatus, Froze, Thawed};
pub use leading::LeaderStatus;
pub use past::SwitchStatus;
use refusal::Busy;
pub use refusal::{BusyAnswer, NOT_LEADER, NotRun, Refusal, UNKNOWN_DEPLOYMENT};
pub use reload::{ConfigurationStatus, NeedsRestart};
pub use report::{DoneStatus, EventStatus, OutputStatus, PointStatus, Report};
pub use run::Rerun;
pub use status::{CleanUp, DeploymentStatus, Ending, GroupStatus, NextStep, PhaseTime, SlotStatus, share};
pub use steering::Steering;
pub use switched::HookStatus;
pub use text::{BadText, MAX_VERSION, Text};
pub use undo::Aborted;
pub use vigil::{HealthState, HealthStatus};
pub use waiting::Waiting;

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
    /// Why; empty if no reason was given.
    pub reason: String,
    /// What a caller that waits for its turn has seen.
    pub waiting: Option<Waiting>,
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
    hooks: Arc<Hooks>,
    /// Callers that wait for their turn.
    line: Arc<parking_lot::Mutex<Line>>,
    samples: Arc<Samples>,
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
            hooks: Arc::clone(&self.hooks),
            line: Arc::clone(&self.line),
            samples: Arc::clone(&self.samples),
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
            hooks: Arc::default(),
            line: Arc::default(),
            samples: Arc::default(),
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
        let together = self.together(&open).await?;
        for entry in open {
            let group = entry.deployment.plan.group.clone();
            tracing::info!(
                deployment = entry.deployment.id,
                group,
                phase = entry.state.phase.name(),
                "resuming the deployment"
            );
            let companions = together.get(&entry.deployment.id).cloned();
            let current = self.current(&group);
            let mut current = current.lock().await;
            // A second try of a resumption that failed in between.
            if current.as_ref().is_none_or(|running| running.id != entry.deployment.id) {
                *current = Some(self.drive_on(entry, companions, takes_over));
            }
        }
        self.is_resumed.store(true, Ordering::Release);
        // No driver takes care of leftover commands of deployments that are over.
        join_all(over.iter().map(|id| self.end_leftover(id))).await;
        self.begin_hooks();
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

    /// Stops all drivers and then ends their commands, so a killed command does not count as failed. A command that changes a
    /// database has a minute to end. The next daemon resumes from the journal.
    pub async fn stop(&self) {
        self.vigils.stop();
        self.end_hooks().await;
        self.samples.stop();
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
        let message = format!(
            "the end of the daemon has ended a command of this deployment; run it again if it is still needed, with the verb run; \
             its output: cutover logs {id}"
        );
        tracing::warn!(deployment = id, "{message}");
        let noted = self.journal.note(id, self.clock.now(), entry.state.phase.name(), &message).await;
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

    fn drive(&self, entry: Entry, companions: Option<Companions>) -> Running {
        self.drive_on(entry, companions, false)
    }

    /// Like [`Control::drive`]. `takes_over`: another process may have driven the deployment until now.
    fn drive_on(&self, entry: Entry, companions: Option<Companions>, takes_over: bool) -> Running {
        let id = entry.deployment.id.clone();
        let deployment = entry.deployment.clone();
        let group = deployment.plan.group.clone();
        let (world, journal) = (Arc::clone(&self.world), self.journal.pinned());
        let unfinished = Unfinished { deployment: entry.deployment, state: entry.state };
        let (driver, handle) = Driver::among(world, journal, self.clock, unfinished, companions.as_ref());
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
        self.nudge_along(&group, handle.state.clone());
        let task = tokio::spawn(async move {
            if let Err(error) = driver.run().await {
                tracing::error!(deployment = name, %error, "the driver stopped");
                return;
            }
            control.prune(&group).await;
            control.stand_by(&group).await;
        });
        Running { id, handle, task, deployment, companions }
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
        let (deployment, now) = (&running.deployment, self.clock.now());
        (!plan.may_be_superseded(&state)).then(|| {
            Refusal::Busy(Box::new(Busy {
                id: Some(running.id.clone()),
                group: Some(group.to_owned()),
                version: deployment.version.clone(),
                phase: phase.name().to_owned(),
                who: deployment.asked_by.clone(),
                reason: deployment.reason.clone(),
                since: Some(deployment.started),
                now,
                may_abort: plan.step(&state, Event::Abort(String::new()), now).is_ok(),
            }))
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
