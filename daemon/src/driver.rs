//! The driver of one deployment: asks core what is due, writes it down, does it, and tells core what came of it.
//!
//! ```text
//! state -> effect -> event -> core: next state -> journal, flushed -> effect -> ..
//!                      ^
//!         operator ----+  abort, rollback, another deployment
//! ```
//!
//! After a restart the journal's last state says which effect is due; it is done again.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use cutover_core::deployment::{Effect, Event, Phase, State};
use cutover_core::shell::quoted;
use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::Clock;
use crate::journal::{Deployment, Journal, JournalError};
use crate::metrics;
use crate::world::World;

mod commands;
mod draining;
mod obstacle;
mod readiness;
mod smoking;
mod soaking;
mod story;
mod switching;
#[cfg(test)]
mod tests;

pub use story::{first_message, jobs, superseded_message};
#[cfg(test)]
pub(crate) use tests::{config as test_config, deployment as test_deployment};

/// Pause between tries of a journal that cannot be written.
const JOURNAL_PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

/// So many panics and a deployment is stuck.
const MOST_PANICS: u32 = 3;

/// What an operator asks of a deployment under way.
#[derive(Debug)]
pub struct Ask {
    /// As core knows it; `None` asks for nothing but the reply, which comes when the state is what the journal says.
    pub event: Option<Event>,
    /// Whether it was taken, or the sentence that says why not.
    pub reply: oneshot::Sender<Result<(), String>>,
}

/// All that an effect needs.
#[derive(Debug)]
pub(crate) struct Scene<W> {
    world: Arc<W>,
    journal: Journal,
    clock: Clock,
    deployment: Arc<Deployment>,
}

/// Drives one deployment.
#[derive(Debug)]
pub struct Driver<W> {
    scene: Scene<W>,
    asks: mpsc::Receiver<Ask>,
    state: watch::Sender<State>,
}

/// The ends of a driver that its owner keeps.
#[derive(Debug)]
pub struct Reins {
    /// Operators' wishes.
    pub asks: mpsc::Sender<Ask>,
    /// Where the deployment is.
    pub state: watch::Receiver<State>,
}

impl<W: World> Driver<W> {
    /// A driver for a deployment that the journal holds in this state.
    pub fn new(
        world: Arc<W>,
        journal: Journal,
        clock: Clock,
        deployment: Deployment,
        state: State,
    ) -> (Self, Reins) {
        let state = deployment.plan.resume(state, clock.now());
        let (send_ask, asks) = mpsc::channel(8);
        let (state, see_state) = watch::channel(state);
        let scene = Scene { world, journal, clock, deployment: Arc::new(deployment) };
        (Self { scene, asks, state }, Reins { asks: send_ask, state: see_state })
    }

    /// Drives to the end. Only a journal that is gone for good stops it before: without a record nothing may be done.
    pub async fn run(mut self) -> Result<State, JournalError> {
        metrics::phase(&self.scene.deployment.plan.group, Some(self.state.borrow().phase.name()));
        self.end_commands().await;
        let mut panics = 0;
        loop {
            let state = self.state.borrow().clone();
            let Some(effect) = state.effect() else {
                metrics::phase(&self.scene.deployment.plan.group, None);
                return Ok(state);
            };
            match AssertUnwindSafe(self.perform(effect)).catch_unwind().await {
                Ok(ended) => {
                    if ended? == Ended::CutShort {
                        self.end_commands().await;
                    }
                }
                Err(_) => {
                    panics += 1;
                    self.go_on_after_panic(panics).await?;
                }
            }
        }
    }

    /// A bug must not leave a deployment that nobody drives: it goes on where the journal is, and is stuck after a few times.
    async fn go_on_after_panic(&mut self, panics: u32) -> Result<(), JournalError> {
        let id = &self.scene.deployment.id;
        let phase = self.state.borrow().phase.name();
        tracing::error!(deployment = id, phase, panics, "a panic, which is a bug: please report it");
        self.end_commands().await;
        if let Ok(Some(entry)) = self.scene.journal.entry(id).await {
            self.state.send_replace(entry.state);
        }
        if panics < MOST_PANICS {
            tokio::time::sleep(JOURNAL_PAUSE).await;
            return Ok(());
        }
        let before = self.state.borrow().clone();
        if before.effect().is_none() {
            return Ok(());
        }
        let next = format!("cutover status {}", quoted(&self.scene.deployment.plan.group));
        let phase = Phase::Stuck { reason: format!("internal error: a panic in phase {phase}"), next };
        self.scene.record(&self.state, State { phase, ..before }, String::new()).await
    }

    /// Does an effect until its event, or until an operator wants something else.
    async fn perform(&mut self, effect: Effect) -> Result<Ended, JournalError> {
        let Self { scene, asks, state } = self;
        let begin = tokio::time::Instant::now();
        let phase = state.borrow().phase.name();
        let before = state.borrow().clone();
        let doing = scene.perform(&before, &effect);
        tokio::pin!(doing);
        let mut listening = true;
        loop {
            tokio::select! {
                event = &mut doing => {
                    metrics::effect_took(&scene.deployment.plan.group, phase, begin.elapsed());
                    scene.advance(state, event).await?;
                    return Ok(Ended::ByItself);
                }
                ask = asks.recv(), if listening => match ask {
                    None => listening = false,
                    Some(ask) => {
                        scene.take(state, ask).await?;
                        if state.borrow().effect().as_ref() != Some(&effect) {
                            return Ok(Ended::CutShort);
                        }
                    }
                }
            }
        }
    }

    async fn end_commands(&self) {
        let id = &self.scene.deployment.id;
        if let Err(error) = self.scene.world.end_commands(id).await {
            tracing::error!(deployment = id, %error, "failed to look for commands left over");
        }
    }
}

#[derive(PartialEq, Eq)]
enum Ended {
    ByItself,
    CutShort,
}

impl<W: World> Scene<W> {
    /// An effect has come to its event.
    async fn advance(&self, state: &watch::Sender<State>, event: Event) -> Result<(), JournalError> {
        let before = state.borrow().clone();
        let now = self.clock.now();
        let message = self.message(&before, &event);
        let next = match self.deployment.plan.step(&before, event, now) {
            Ok((next, _)) => next,
            Err(illegal) => {
                tracing::error!(deployment = self.deployment.id, %illegal, "a bug: please report it");
                let next = format!("cutover status {}", quoted(&self.deployment.plan.group));
                State { phase: Phase::Stuck { reason: format!("internal error: {illegal}"), next }, ..before }
            }
        };
        self.record(state, next, message).await
    }

    /// An operator wants something.
    async fn take(&self, state: &watch::Sender<State>, ask: Ask) -> Result<(), JournalError> {
        let Some(event) = ask.event else {
            let _ = ask.reply.send(Ok(()));
            return Ok(());
        };
        let before = state.borrow().clone();
        let message = self.message(&before, &event);
        match self.deployment.plan.step(&before, event, self.clock.now()) {
            Ok((next, _)) => {
                self.record(state, next, message).await?;
                let _ = ask.reply.send(Ok(()));
            }
            Err(illegal) => {
                let _ = ask.reply.send(Err(illegal.to_string()));
            }
        }
        Ok(())
    }

    /// Writes the next state down, however long the disk takes to be writable again, and only then lets it be seen.
    async fn record(
        &self,
        state: &watch::Sender<State>,
        next: State,
        message: String,
    ) -> Result<(), JournalError> {
        let id = &self.deployment.id;
        let message = story::with_end(message, &self.deployment, &next);
        let mut said = false;
        loop {
            match self.journal.append(id, self.clock.now(), &next, &message).await {
                Ok(()) => break,
                #[cfg(test)]
                Err(cut @ JournalError::Cut) => return Err(cut),
                Err(error) => {
                    if !std::mem::replace(&mut said, true) {
                        tracing::error!(deployment = id, %error, "failed to write the journal; trying again and again");
                        metrics::journal_fails(true);
                    }
                    tokio::time::sleep(JOURNAL_PAUSE).await;
                }
            }
        }
        if said {
            tracing::info!(deployment = id, "the journal can be written again");
            metrics::journal_fails(false);
        }
        let group = &self.deployment.plan.group;
        let phase = next.phase.name();
        if matches!(next.phase, Phase::Stuck { .. }) {
            tracing::error!(deployment = id, group, phase, "{message}");
        } else {
            tracing::info!(deployment = id, group, phase, "{message}");
        }
        let before = state.send_replace(next.clone());
        metrics::phase(group, Some(next.phase.name()));
        if let Some(outcome) = next.phase.outcome().filter(|outcome| before.phase.outcome() != Some(*outcome))
        {
            let took = self.deployment.started.until(self.clock.now());
            metrics::ended(group, outcome.as_str(), took);
        }
        Ok(())
    }

    /// A message that changes nothing. Losing one is no reason to stop.
    async fn note(&self, phase: &str, message: &str) {
        let id = &self.deployment.id;
        tracing::info!(deployment = id, group = self.deployment.plan.group, phase, "{message}");
        if let Err(error) = self.journal.note(id, self.clock.now(), phase, message).await {
            tracing::warn!(deployment = id, %error, "failed to write a note");
        }
    }

    async fn perform(&self, state: &State, effect: &Effect) -> Event {
        let phase = state.phase.name();
        let marks = state.marks.unwrap_or_default();
        if let Effect::Decommission { at }
        | Effect::VerifyOld { at }
        | Effect::SwitchBack { at }
        | Effect::Revert { at }
        | Effect::Teardown { at } = effect
        {
            self.clock.sleep_until(*at).await;
        }
        match effect {
            Effect::Migrate => self.migrate(phase).await,
            Effect::Provision => self.provision(phase).await,
            Effect::Probe { until } => self.wait_until_ready(*until).await,
            Effect::Smoke => self.smoke().await,
            Effect::ReadRoute => self.read_route().await,
            Effect::Switch => self.switch(state).await,
            Effect::Soak { until, generation } => self.soak(*until, *generation, marks).await,
            Effect::DrainOld { until, generation } => self.drain_old(*until, *generation).await,
            Effect::KeepWarm { until, generation } => self.keep_warm(*until, *generation, marks.old).await,
            Effect::Decommission { .. } => self.decommission_old(phase).await,
            Effect::VerifyOld { .. } => self.verify_old(state).await,
            Effect::SwitchBack { .. } => self.switch_back(state).await,
            Effect::DrainNew { until } => self.drain_new(*until).await,
            Effect::Revert { .. } => self.revert(phase).await,
            Effect::Teardown { .. } => self.tear_down_new(phase).await,
        }
    }
}
