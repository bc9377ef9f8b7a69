//! The trial of a switch: renewed while the new version is watched, and ended when it is good.

use cutover_core::api::{TrialPhase, TrialState};
use cutover_core::deployment::{Event, State};

use super::work::Work;
use crate::edge::{Look, ShiftError};
use crate::journal::Journal;
use crate::world::World;

impl<W: World, J: Journal> Work<W, J> {
    /// Renews the lease. A renewal that fails is tried again at the next reading: the lease covers many of them.
    pub(super) async fn renew(&self, look: &Look) {
        let plan = &self.deployment.plan;
        let has_lease = look.route().trial.as_ref().is_some_and(|trial| trial.lease_left_ms.is_some());
        let Some(lease) = self.deployment.policy.trial.lease.filter(|_| has_lease) else { return };
        if let Err(error) = self.world.renew(&plan.group, lease.get(), &look.revision).await {
            tracing::warn!(deployment = self.deployment.id, %error, "failed to renew the lease");
        }
    }

    /// Keeps the traffic on the new slot while the old one is no way back: the lease must not move it there. If this
    /// deployment ends here, the switch becomes permanent; else the lease is renewed.
    pub(super) async fn keep_traffic(&self, state: &State, event: &Event) {
        let plan = &self.deployment.plan;
        let next = plan.step(state, event.clone(), self.clock.now());
        if next.is_ok_and(|next| next.phase.is_final()) {
            return self.end_trial(state, "there is no way back").await;
        }
        let (Some(revision), Some(lease)) = (self.mark(state).switched, self.deployment.policy.trial.lease)
        else {
            return;
        };
        if let Err(error) = self.world.renew(&plan.group, lease.get(), &revision).await {
            tracing::warn!(deployment = self.deployment.id, %error, "failed to renew the lease");
        }
    }

    /// Ends the trial of the switch, if it has one, and lets the traffic stay.
    pub(super) async fn end_trial(&self, state: &State, reason: &str) {
        let plan = &self.deployment.plan;
        let is_soaking = state.phase.name() != "warm";
        let Some(revision) = self.mark(state).switched.filter(|_| is_soaking) else { return };
        if let Err(error) = self.world.confirm(&plan.group, reason, &revision).await {
            tracing::warn!(deployment = self.deployment.id, %error, "failed to end the trial of the switch");
        }
    }

    /// The event of a trial that should have ended, but whose fallback was failing too.
    pub(super) fn held(&self, look: &Look) -> Option<Event> {
        let trial = look.route().trial.as_ref().filter(|trial| trial.phase == TrialPhase::Held)?;
        Some(Event::TrialHeld(describe(trial)))
    }

    /// Makes the switch permanent.
    pub(super) async fn confirm(&self, state: &State) -> Event {
        let plan = &self.deployment.plan;
        let look = match self.look().await {
            Ok(look) => look,
            Err(error) => return Event::StepFailed(error.to_string()),
        };
        if let Some(event) = self.moved_since_switch(&look, state).or_else(|| self.held(&look)) {
            return event;
        }
        let reason = format!("deployment {} is good", self.deployment.id);
        match self.world.confirm(&plan.group, &reason, &look.revision).await {
            Ok(now) => self.moved_since_switch(&now, state).unwrap_or(Event::Confirmed),
            Err(ShiftError::Moved(now)) => self
                .moved_since_switch(&now, state)
                .unwrap_or_else(|| Event::StepFailed("it has just changed".to_owned())),
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
