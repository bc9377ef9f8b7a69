//! The dispatch from a phase to its work.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use cutover_core::api::Group;
use cutover_core::deployment::{Event, Phase, RollbackStep, State, Store, TeardownStep, Time};

use cutover_core::verdict::{EdgeReading, Watch};
use parking_lot::Mutex;

use super::synthetic::results::Results;
use crate::clock::Clock;
use crate::companions::Others;
use crate::edge::EdgeError;
use crate::fleet::{Fleet, View};
use crate::journal::{Deployment, Journal};
use crate::prober::Prober;
use crate::shifting::{PATIENCE, PAUSE};
use crate::versions::Versions;
use crate::world::World;

/// What the slots have counted, by edge, and when.
pub(super) type Counted = (Time, Vec<EdgeReading>);

/// The context of the work.
#[derive(Debug)]
pub(super) struct Work<W, J> {
    pub(super) world: Arc<W>,
    pub(super) journal: J,
    pub(super) clock: Clock,
    pub(super) deployment: Arc<Deployment>,
    /// The deployments of other groups that move together with this one.
    pub(super) others: Option<Others>,
    /// The watch over the new version, from its first traffic on.
    pub(super) watch: Arc<Mutex<Option<Watch>>>,
    /// Whether the new version is known to be bad after its soak.
    pub(super) is_bad: Arc<AtomicBool>,
    /// Whether `diagnose` has run.
    pub(super) diagnosed: Arc<AtomicBool>,
    /// The results of the synthetic requests.
    pub(super) synthetic: Arc<Results>,
    /// What the slots had counted at the last look, and when that was.
    pub(super) counted: Arc<Mutex<Option<Counted>>>,
    /// The group as it was read last.
    pub(super) seen: Arc<Mutex<Option<Group>>>,
}

impl<W, J> Work<W, J> {
    pub(super) fn new(
        world: Arc<W>,
        journal: J,
        clock: Clock,
        deployment: Deployment,
        others: Option<Others>,
    ) -> Self {
        Self {
            world,
            journal,
            clock,
            deployment: Arc::new(deployment),
            others,
            watch: Arc::default(),
            is_bad: Arc::default(),
            diagnosed: Arc::default(),
            synthetic: Arc::default(),
            counted: Arc::default(),
            seen: Arc::default(),
        }
    }
}

impl<W, J: Clone> Clone for Work<W, J> {
    fn clone(&self) -> Self {
        Self {
            world: Arc::clone(&self.world),
            journal: self.journal.clone(),
            clock: self.clock,
            deployment: Arc::clone(&self.deployment),
            others: self.others.clone(),
            watch: Arc::clone(&self.watch),
            is_bad: Arc::clone(&self.is_bad),
            diagnosed: Arc::clone(&self.diagnosed),
            synthetic: Arc::clone(&self.synthetic),
            counted: Arc::clone(&self.counted),
            seen: Arc::clone(&self.seen),
        }
    }
}

impl<W: World, J: Journal> Work<W, J> {
    /// Does the work of a phase and returns its event. The work is idempotent.
    pub(super) async fn perform(&self, state: &State) -> Event {
        let name = state.phase.name();
        if let Some(at) = state.phase.not_before() {
            self.clock.sleep_until(at).await;
        }
        match &state.phase {
            Phase::Migrating => self.migrate(name).await,
            Phase::Provisioning => self.provision(name).await,
            Phase::Probing { until } => self.wait_until_ready(*until).await,
            Phase::Smoking => match self.smoke().await {
                Event::SmokePassed => self.warm_up().await,
                failed => failed,
            },
            Phase::Switching(Store::Reading) => self.read_route(state).await,
            Phase::Switching(Store::Storing) => self.switch(state).await,
            Phase::Soaking { until } => self.soak(*until, state).await,
            Phase::Confirming(_) => self.confirm(state).await,
            Phase::Draining { until } => self.drain_old(*until, state).await,
            Phase::Warm { until } => self.keep_warm(*until, state).await,
            Phase::Decommissioning(_) => self.decommission_old(name).await,
            Phase::TearingDown { step, .. } => match (self.may_undo(self.close(state), state).await, step) {
                (Some(event), _) => event,
                (None, TeardownStep::Revert) => self.revert(name).await,
                (None, TeardownStep::Teardown) => self.tear_down_new(name).await,
            },
            Phase::RollingBack { step, .. } => match step {
                RollbackStep::SwitchBack => self.switch_back(state).await,
                RollbackStep::Drain { until } => tokio::join!(self.drain_new(*until), self.diagnose(state)).0,
                RollbackStep::Revert => match self.may_undo(self.before_undoing(state), state).await {
                    Some(event) => event,
                    None => self.revert(name).await,
                },
                RollbackStep::Teardown => match self.may_undo(self.before_undoing(state), state).await {
                    Some(event) => event,
                    None => self.tear_down_new(name).await,
                },
                RollbackStep::Watch { until } => self.watch_way_back(*until, state).await,
            },
            Phase::Completed { .. } | Phase::Failed(_) | Phase::RolledBack { .. } | Phase::Stuck { .. } => {
                // The driver does not perform final phases.
                std::future::pending().await
            }
        }
    }

    /// Asks whether the new version may be undone. If so, it is looked at before that.
    async fn may_undo(&self, asked: impl Future<Output = Option<Event>>, state: &State) -> Option<Event> {
        let in_the_way = asked.await;
        if in_the_way.is_none() {
            self.diagnose(state).await;
        }
        in_the_way
    }

    /// Returns an event if the new slot may still be needed, or may still get traffic.
    async fn before_undoing(&self, state: &State) -> Option<Event> {
        match self.old_slot_died().await {
            None => self.close(state).await,
            died => died,
        }
    }

    /// The edges of this deployment.
    pub(super) fn fleet(&self) -> Fleet<'_, W::Edge> {
        self.world.fleet(&self.deployment.policy.edges).without(&self.deployment.plan.excluded)
    }

    /// How long an edge that does not answer is waited for: several must move together, and one may be restarting.
    pub(super) fn patience(&self) -> Duration {
        match self.fleet().is_several() {
            true => self.deployment.policy.fleet.patience.get(),
            false => PATIENCE,
        }
    }

    /// Reads the group once, on all edges.
    pub(super) async fn look(&self) -> Result<View, EdgeError> {
        let looked = self.fleet().look(&self.deployment.plan.group).await;
        if let Ok(look) = &looked {
            *self.seen.lock() = Some(look.group.clone());
        }
        looked
    }

    /// Reads the group. Retries for [`PATIENCE`] if no edge answers.
    pub(super) async fn look_patiently(&self) -> Result<View, EdgeError> {
        self.fleet().look_patiently(&self.deployment.plan.group, PATIENCE).await
    }

    /// Reads the group on all edges. Fails if one does not answer: it may send traffic to any slot.
    pub(super) async fn look_at_all(&self) -> Result<View, EdgeError> {
        self.look().await.and_then(View::whole)
    }

    /// The same. Waits for an edge that may be restarting.
    pub(super) async fn look_at_all_patiently(&self) -> Result<View, EdgeError> {
        let begin = tokio::time::Instant::now();
        loop {
            match self.look_at_all().await {
                Err(_) if begin.elapsed() < self.patience() => tokio::time::sleep(PAUSE).await,
                looked => return looked,
            }
        }
    }

    pub(super) fn prober(&self) -> Prober<'_, W> {
        let deployment = &self.deployment;
        let versions = Versions::of(deployment);
        Prober { world: &self.world, group: &deployment.plan.group, policy: &deployment.policy, versions }
    }

    /// Journals a message without a change of state. A failure is only logged.
    pub(super) async fn note(&self, phase: &str, message: &str) {
        let id = &self.deployment.id;
        tracing::info!(deployment = id, group = self.deployment.plan.group, phase, "{message}");
        if let Err(error) = self.journal.note(id, self.clock.now(), phase, message).await {
            tracing::warn!(deployment = id, %error, "failed to write a note");
        }
    }
}
