//! Ends the warm window of the last deployment when another deployment or switch begins.

use cutover_core::deployment::{Event, State};
use cutover_engine::journal::Deployment;
use cutover_engine::world::World;
use tokio::sync::MutexGuard;

use super::running::{Running, live};
use super::{Control, Refusal};
use crate::journal::{JournalError, Superseded};

impl<W: World> Control<W> {
    /// Ends the warm window of the last deployment, if there is one.
    pub(super) async fn supersede(
        &self,
        current: &mut MutexGuard<'_, Option<Running>>,
    ) -> Result<(), Refusal> {
        if let Some((running, _)) = live(current).await {
            running.ask(Event::Supersede).await?;
        }
        if let Some(running) = current.take() {
            let _ = running.task.await;
        }
        Ok(())
    }

    /// Begins a deployment and ends the warm window of the last one. Both are written, or neither.
    pub(super) async fn take_over(
        &self,
        current: &mut MutexGuard<'_, Option<Running>>,
        deployment: Deployment,
        state: &State,
        message: &str,
    ) -> Result<Deployment, Refusal> {
        let Some((running, _)) = live(current).await else {
            return Ok(self.journal.begin(deployment, state, message).await?);
        };
        let id = running.id.clone();
        let Some(before) = self.journal.entry(&id).await? else { return Err(Refusal::UnknownDeployment(id)) };
        // A warm driver only watches, so it can be stopped at any time. If its state has changed since, the journal refuses.
        if let Some(running) = current.take() {
            running.task.abort();
            let _ = running.task.await;
        }
        let begun = match Superseded::of(&before, self.clock.now()) {
            Some(superseded) => self.journal.begin_after(superseded, deployment, state, message).await,
            None => Err(JournalError::Open(id.clone())),
        };
        if begun.is_err() {
            let now = self.journal.entry(&id).await.ok().flatten();
            **current = Some(self.drive(now.unwrap_or(before)));
        }
        Ok(begun?)
    }
}
