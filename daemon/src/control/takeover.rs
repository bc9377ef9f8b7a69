//! Ends the last deployment, which only watches or stops a slot, when another deployment or switch begins.

use cutover_core::deployment::Event;
use cutover_engine::companions::Companions;
use cutover_engine::journal::{Deployment, Unfinished};
use cutover_engine::world::World;
use tokio::sync::MutexGuard;

use super::running::{Running, live};
use super::{Control, Refusal};
use crate::journal::{Beginning, Entry, JournalError, Superseded};

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

    /// Begins deployments that move together, or one alone, and ends the last ones of their groups, which only watch or stop a
    /// slot. All is written, or nothing. A command that stops a slot goes on beside the new deployment.
    pub(super) async fn take_over(
        &self,
        currents: &mut [MutexGuard<'_, Option<Running>>],
        mut beginnings: Vec<Beginning>,
    ) -> Result<Vec<Deployment>, Refusal> {
        let mut stopped = Vec::new();
        let mut refused = None;
        for (current, beginning) in currents.iter_mut().zip(&mut beginnings) {
            match self.stop_superseded(current, beginning).await {
                Ok(one) => stopped.push(one),
                Err(refusal) => {
                    refused = Some(refusal);
                    break;
                }
            }
        }
        if refused.is_none() {
            refused = self.journal.begin_all(beginnings.clone()).await.err().map(Refusal::from);
        }
        if let Some(refused) = refused {
            for (current, one) in currents.iter_mut().zip(stopped) {
                self.drive_again(current, one);
            }
            return Err(refused);
        }
        for Stopped { before, companions } in stopped.into_iter().flatten() {
            let superseded = beginnings.iter().filter_map(|beginning| beginning.superseded.as_ref());
            let end = superseded.into_iter().find_map(|superseded| superseded.end_of(&before.deployment.id));
            if let (Some(companions), Some(end)) = (companions, end) {
                companions.ended(&before.deployment.id, end);
            }
            self.clean_up_beside(&before);
        }
        let entries = beginnings.iter().map(|Beginning { deployment, state, .. }| Unfinished {
            deployment: deployment.clone(),
            state: state.clone(),
        });
        let companions = (beginnings.len() > 1).then(|| Companions::new(entries));
        let mut begun = Vec::new();
        for (current, beginning) in currents.iter_mut().zip(beginnings) {
            let Beginning { deployment, state, message, .. } = beginning;
            let (group, phase) = (&deployment.plan.group, state.phase.name());
            tracing::info!(deployment = deployment.id, group, phase, "{message}");
            begun.push(deployment.clone());
            let entry = Entry { updated: deployment.started, deployment, state, outcome: None, message };
            **current = Some(self.drive(entry, companions.clone()));
        }
        Ok(begun)
    }

    /// Stops the driver of a group's last deployment, which only watches or stops a slot, and plans its end. `None` if there is
    /// none. If this fails, the driver goes on.
    async fn stop_superseded(
        &self,
        current: &mut MutexGuard<'_, Option<Running>>,
        beginning: &mut Beginning,
    ) -> Result<Option<Stopped>, Refusal> {
        let Some((running, _)) = live(current).await else { return Ok(None) };
        let id = running.id.clone();
        let Some(before) = self.journal.entry(&id).await? else {
            return Err(Refusal::UnknownDeployment(id));
        };
        // Such a driver can be stopped at any time. If its state changes before that, the journal refuses.
        let Some(running) = current.take() else { return Ok(None) };
        running.task.abort();
        let _ = running.task.await;
        let mut stopped = Stopped { before, companions: running.companions };
        match self.plan_end(&id, &mut stopped, beginning).await {
            Ok(()) => Ok(Some(stopped)),
            Err(refused) => {
                self.drive_again(current, Some(stopped));
                Err(refused)
            }
        }
    }

    async fn plan_end(
        &self,
        id: &str,
        stopped: &mut Stopped,
        beginning: &mut Beginning,
    ) -> Result<(), Refusal> {
        let before = &mut stopped.before;
        if let Some(now) = self.journal.entry(id).await? {
            *before = now;
        }
        let (group, to) = (&beginning.deployment.plan.group, &beginning.deployment.plan.to);
        let plan = &before.deployment.plan;
        if plan.cleans_up(&before.state).is_some_and(|part| plan.slot(part) == to) {
            // The window of the slot has just ended.
            return Err(Refusal::being_stopped(group, to, &before.deployment, &before.state));
        }
        match Superseded::of(before, self.clock.now()) {
            Some(superseded) => {
                self.end_commands(id).await;
                beginning.superseded = Some(superseded);
                Ok(())
            }
            None if before.state.phase.is_final() => Ok(()),
            None => Err(JournalError::Open(id.to_owned()).into()),
        }
    }

    /// Goes on with a deployment that was stopped for another one that has not begun.
    fn drive_again(&self, current: &mut MutexGuard<'_, Option<Running>>, stopped: Option<Stopped>) {
        match stopped {
            Some(Stopped { before, companions }) if !before.state.phase.is_final() => {
                **current = Some(self.drive(before, companions));
            }
            _ => {}
        }
    }
}

/// A deployment whose driver was stopped for another one.
struct Stopped {
    before: Entry,
    companions: Option<Companions>,
}
