//! The running deployment of a group, and requests to its driver.

use cutover_core::deployment::{Event, Phase, Plan, State, Store};
use cutover_engine::companions::Companions;
use cutover_engine::driver::{Handle, Request};
use cutover_engine::journal::Deployment;
use tokio::sync::{Mutex, MutexGuard, oneshot};
use tokio::task::JoinHandle;

use super::refusal::Refusal;

/// How long a driver may take to report its phase. A journal that cannot be written delays it.
pub(super) const SETTLING: std::time::Duration = std::time::Duration::from_secs(5);

/// The running deployment of a group. The lock is held during each decision about the group.
pub(super) type Current = Mutex<Option<Running>>;

#[derive(Debug)]
pub(super) struct Running {
    pub(super) id: String,
    pub(super) handle: Handle,
    pub(super) task: JoinHandle<()>,
    pub(super) deployment: Deployment,
    /// What its driver shares with those of its companions.
    pub(super) companions: Option<Companions>,
}

impl Running {
    /// The current phase. It waits for the driver, because followers see a record a moment before the driver does.
    pub(super) async fn phase(&self) -> Phase {
        self.state().await.phase
    }

    /// The current state, like [`Running::phase`].
    pub(super) async fn state(&self) -> State {
        let _ = tokio::time::timeout(SETTLING, self.tell(None)).await;
        self.handle.state.borrow().clone()
    }

    /// Whether the new version has the share of an earlier step.
    pub(super) fn has_share(&self) -> bool {
        self.handle.state.borrow().has_share()
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.deployment.plan
    }

    /// The slot that the deployment stops now, after all of its other work.
    pub(super) async fn stopping(&self) -> Option<String> {
        let state = self.state().await;
        Some(self.plan().slot(self.plan().cleans_up(&state)?).to_owned())
    }

    /// The state after a switch that is under way, which takes a moment.
    pub(super) async fn past_switch(&self) -> State {
        let mut state = self.handle.state.clone();
        let is_over = |state: &State| !matches!(state.phase, Phase::Switching(Store::Storing));
        let _ = tokio::time::timeout(SETTLING, state.wait_for(is_over)).await;
        self.handle.state.borrow().clone()
    }

    pub(super) async fn ask(&self, event: Event) -> Result<(), Refusal> {
        match self.tell(Some(event)).await {
            Ok(()) => Ok(()),
            Err(why) => Err(self.refusal(why).await),
        }
    }

    async fn tell(&self, event: Option<Event>) -> Result<(), String> {
        let (reply, answer) = oneshot::channel();
        let over = || "it has just ended".to_owned();
        self.handle.requests.send(Request { event, reply }).await.map_err(|_| over())?;
        answer.await.unwrap_or_else(|_| Err(over()))
    }

    pub(super) async fn refusal(&self, why: String) -> Refusal {
        Refusal::Unfit { id: self.id.clone(), phase: self.phase().await.name().to_owned(), why }
    }

    /// Waits until a running command that changes the database has ended and its end is in the journal, at most until `patience`.
    pub(super) async fn past_database(&self, patience: tokio::time::Instant) {
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
}

/// The running deployment and its phase, unless it has ended.
pub(super) async fn live<'a>(current: &'a MutexGuard<'_, Option<Running>>) -> Option<(&'a Running, Phase)> {
    let running = current.as_ref()?;
    let phase = running.phase().await;
    let is_live = !phase.is_final() && !running.handle.requests.is_closed();
    is_live.then_some((running, phase))
}
