//! The trial of a switch: renewed while the new version is watched, and ended when it is good.

use cutover_core::api::{TrialPhase, TrialState};
use cutover_core::deployment::{Event, State};

use super::work::Work;
use crate::edge::{Look, ShiftError};
use crate::journal::Journal;
use crate::prober::Found;
use crate::world::World;

impl<W: World, J: Journal> Work<W, J> {
    /// Renews the lease. A renewal that fails is tried again at the next reading: the lease covers many of them.
    pub(super) async fn renew(&self, look: &Look) {
        let plan = &self.deployment.plan;
        let is_leased =
            |trial: &TrialState| trial.lease_left_ms.is_some() && trial.phase == TrialPhase::Armed;
        let has_lease = look.route().trial.as_ref().is_some_and(is_leased);
        let Some(lease) = self.deployment.policy.trial.lease.filter(|_| has_lease) else { return };
        if let Err(error) = self.world.renew(&plan.group, lease.get(), &look.revision).await {
            tracing::warn!(deployment = self.deployment.id, %error, "failed to renew the lease");
        }
    }

    /// Ends a trial and lets the traffic stay. The error says why it goes on.
    pub(super) async fn end_trial(&self, look: &Look, reason: &str) -> Result<(), String> {
        if look.route().trial.is_none() {
            return Ok(());
        }
        match self.world.confirm(&self.deployment.plan.group, reason, &look.revision).await {
            Ok(_) => Ok(()),
            // It has ended in memory, so it takes nothing back while nginx runs.
            Err(ShiftError::NotDurable(why)) => {
                tracing::warn!(deployment = self.deployment.id, why, "the end of a trial is not on disk");
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// The same for a slot that a probe found unhealthy while it was the way back.
    pub(super) async fn disarm(&self) -> Result<(), String> {
        let look = self.look().await.map_err(|error| error.to_string())?;
        self.end_trial(&look, "the old slot is not healthy").await
    }

    /// The event of a route that has moved since the switch, or whose trial is held.
    pub(super) async fn moved_or_held(&self, look: &Look, state: &State) -> Option<Event> {
        match self.moved_since_switch(look, state).await {
            None => self.held(look).await,
            moved => moved,
        }
    }

    /// The event of a trial that should have ended, but whose fallback was failing too.
    async fn held(&self, look: &Look) -> Option<Event> {
        let trial = look.route().trial.as_ref().filter(|trial| trial.phase == TrialPhase::Held)?;
        let mut text = describe(trial);
        for slot in [&trial.slot, &trial.fallback] {
            let Some(slot) = look.group.slot(slot) else { continue };
            let Found { healthy, servers, why } = self.prober().found(slot).await;
            let why = if why.is_empty() { why } else { format!(" ({why})") };
            text.push_str(&format!(
                "; slot \"{}\" has {healthy} of {servers} servers healthy{why}",
                slot.name
            ));
        }
        Some(Event::TrialHeld(text))
    }

    /// Makes the switch permanent.
    pub(super) async fn confirm(&self, state: &State) -> Event {
        let plan = &self.deployment.plan;
        let look = match self.look().await {
            Ok(look) => look,
            Err(error) => return Event::StepFailed(error.to_string()),
        };
        if let Some(event) = self.moved_or_held(&look, state).await {
            return event;
        }
        let reason = format!("deployment {} is good", self.deployment.id);
        match self.world.confirm(&plan.group, &reason, &look.revision).await {
            Ok(now) if now.revision == look.revision => Event::Confirmed,
            // The version is good. A power loss would bring the trial back, not the old version.
            Err(ShiftError::NotDurable(why)) => {
                self.note("confirming", &format!("the end of the trial is not on disk: {why}")).await;
                Event::Confirmed
            }
            // A reply does not say who moved the route since. The next reading does.
            Ok(_) | Err(ShiftError::Moved(_)) => {
                Event::StepFailed("the route has just been moved".to_owned())
            }
            Err(error) => Event::StepFailed(error.to_string()),
        }
    }
}

fn describe(trial: &TrialState) -> String {
    let TrialState { slot, fallback, figures, .. } = trial;
    format!(
        "the traffic should have gone back to slot \"{fallback}\", but it was failing too, so it stays on \"{slot}\": \
         {} of its last {} requests failed; once \"{fallback}\" is healthy again, go back by hand",
        figures.errors, figures.requests
    )
}
