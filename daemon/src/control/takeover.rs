//! Ends the last deployment, which only watches or stops a slot, when another deployment or switch begins.

use cutover_core::deployment::{Event, State};
use cutover_engine::journal::Deployment;
use cutover_engine::world::World;
use tokio::sync::MutexGuard;

use super::running::{Running, live};
use super::{Control, Refusal};
use crate::journal::{JournalError, Superseded};

impl<W: World> Control<W> {
    /// Ends the last deployment, which only watches, for a switch by hand.
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

    /// Begins a deployment and ends the last one, which only watches or stops a slot. Both are written, or neither. A command that
    /// stops a slot goes on beside the new deployment.
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
        let Some(mut before) = self.journal.entry(&id).await? else {
            return Err(Refusal::UnknownDeployment(id));
        };
        // Such a driver can be stopped at any time. If its state changes before that, the journal refuses.
        if let Some(running) = current.take() {
            running.task.abort();
            let _ = running.task.await;
        }
        match self.journal.entry(&id).await {
            Ok(now) => before = now.unwrap_or(before),
            Err(error) => {
                **current = Some(self.drive(before));
                return Err(error.into());
            }
        }
        let (group, to) = (&deployment.plan.group, deployment.plan.to.clone());
        let plan = &before.deployment.plan;
        if plan.cleans_up(&before.state).is_some_and(|part| plan.slot(part) == to) {
            // The window of the slot has just ended.
            let refused = Refusal::being_stopped(group, &to, &before.deployment, &before.state);
            **current = Some(self.drive(before));
            return Err(refused);
        }
        let begun = match Superseded::of(&before, self.clock.now()) {
            Some(superseded) => {
                self.end_commands(&id).await;
                self.journal.begin_after(superseded, deployment, state, message).await
            }
            None if before.state.phase.is_final() => self.journal.begin(deployment, state, message).await,
            None => Err(JournalError::Open(id.clone())),
        };
        match &begun {
            Ok(_) => self.clean_up_beside(&before),
            Err(_) if !before.state.phase.is_final() => **current = Some(self.drive(before)),
            Err(_) => {}
        }
        Ok(begun?)
    }
}
