//! A deployment that this operator drives.

use std::sync::Arc;
use std::time::Duration;

use cutover_core::deployment::{Event, Phase, State};
use cutover_engine::clock::Clock;
use cutover_engine::driver::{Driver, Handle, Request};
use cutover_engine::journal::Unfinished;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::edge::Watched;
use crate::journal::ResourceJournal;
use crate::ledger::Ledger;
use crate::metrics;
use crate::setup::Setup;
use crate::workload::Wanted;
use crate::world::ClusterWorld;

/// How long a driver may take to answer.
const SETTLING: Duration = Duration::from_secs(5);

/// A deployment and its driver.
pub struct Running {
    /// The deployment's name.
    pub id: String,
    /// What it is about.
    pub setup: Setup,
    /// The slots: from, to.
    pub slots: (String, String),
    world: Arc<ClusterWorld>,
    handle: Handle,
    tasks: [JoinHandle<()>; 2],
}

impl Running {
    /// Drives a deployment. `takes_over`: another operator may have driven it until now.
    pub fn start(
        watched: &Arc<Watched>,
        ledger: &Arc<Ledger>,
        (unfinished, setup): (Unfinished, Setup),
        clock: Clock,
        takes_over: bool,
    ) -> Self {
        let world = Arc::new(ClusterWorld::new(watched, &setup, ledger));
        let journal = ResourceJournal::new(Arc::clone(ledger), &unfinished, setup.clone());
        let id = unfinished.deployment.id.clone();
        let plan = &unfinished.deployment.plan;
        let slots = (plan.from.clone(), plan.to.clone());
        let (driver, handle) = Driver::new(Arc::clone(&world), journal, clock, unfinished);
        let driver = if takes_over { driver.taking_over() } else { driver };
        let name = id.clone();
        let driving = tokio::spawn(metrics::within(setup.namespace.clone(), async move {
            if let Err(error) = driver.run().await {
                tracing::error!(deployment = name, %error, "the driver stopped");
            }
        }));
        let warming =
            tokio::spawn(shrink_when_warm(Arc::clone(&world), handle.state.clone(), slots.0.clone()));
        Self { id, setup, slots, world, handle, tasks: [driving, warming] }
    }

    /// The state as the journal has it.
    pub fn state(&self) -> State {
        self.handle.state.borrow().clone()
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        self.state().phase.is_final() || self.handle.requests.is_closed()
    }

    /// Asks the driver for something. The error is one line.
    pub async fn ask(&self, event: Event) -> Result<(), String> {
        if matches!(event, Event::Rollback(_)) && matches!(self.state().phase, Phase::Warm { .. }) {
            let limit = Duration::from_secs(300);
            self.world.workloads().grow(&self.slots.0, limit).await?;
        }
        let (reply, answer) = oneshot::channel();
        let over = || "it has just ended".to_owned();
        let asked = async {
            self.handle.requests.send(Request { event: Some(event), reply }).await.map_err(|_| over())?;
            answer.await.unwrap_or_else(|_| Err(over()))
        };
        tokio::time::timeout(SETTLING, asked)
            .await
            .unwrap_or_else(|_| Err("its driver does not answer".to_owned()))
    }

    /// Why the new version's Pods are not those that were started. `None`: they are.
    pub async fn changed(&self, started: &str) -> Result<Option<String>, String> {
        self.world.workloads().changed(&self.slots.1, started).await
    }

    /// Stops the driver. The next operator resumes from the journal.
    pub fn stop(&self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Scales the old slot down when its warm window begins.
async fn shrink_when_warm(
    world: Arc<ClusterWorld>,
    mut state: tokio::sync::watch::Receiver<State>,
    old: String,
) {
    let is_warm = |state: &State| matches!(state.phase, Phase::Warm { .. }) && !state.has_nothing_before();
    if state.wait_for(is_warm).await.is_err() {
        return;
    }
    if let Err(error) = world.stop(&old, Wanted::Warm).await {
        tracing::warn!(slot = old, error, "failed to scale the old slot to its warm size");
    }
}
