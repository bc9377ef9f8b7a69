//! The driver of one deployment. It does the work of a phase, passes the resulting event to core, and journals the next state.
//!
//! ```text
//! state -> work of its phase -> event -> core: next state -> journal, flushed -> work of the next phase -> ..
//!                                 ^
//!                    operator ----+  abort, rollback, another deployment
//! ```
//!
//! After a restart the driver repeats the work of the last state in the journal.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use cutover_core::deployment::{Event, Phase, State};
use cutover_core::shell::quoted;
use cutover_core::verdict::{Figures, Glance, Watch};
use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::Clock;
use crate::companions::Companions;
use crate::journal::{Journal, JournalError, Unfinished};
use crate::metrics;
use crate::world::World;

mod aftermath;
mod afterwards;
mod closing;
mod commands;
mod confirming;
mod diagnosing;
mod draining;
mod extending;
mod figures;
mod jobs;
mod messages;
mod obstacle;
mod readiness;
mod records;
mod sessions;
mod signals;
mod smoking;
mod soaking;
mod switching;
mod synthetic;
mod taking_over;
#[cfg(test)]
mod tests;
mod together;
mod warming_up;
mod whereabouts;
mod work;

pub use jobs::{Jobs, jobs};
pub use messages::{first_message, superseded_message};
use records::Records;
use work::Work;

/// After this number of panics the deployment is stuck.
const MOST_PANICS: u32 = 3;

/// How often a driver looks whether the journal can be written.
const LOOK: std::time::Duration = std::time::Duration::from_millis(100);

/// A request of an operator to a running deployment.
#[derive(Debug)]
pub struct Request {
    /// The event. `None` asks only for the reply, which comes when the driver's state is the journal's last state.
    pub event: Option<Event>,
    /// Receives whether the event was accepted, or one sentence that says why not.
    pub reply: oneshot::Sender<Result<(), String>>,
}

/// Drives one deployment.
#[derive(Debug)]
pub struct Driver<W, J> {
    requests: mpsc::Receiver<Request>,
    deployment: Driven<W, J>,
    takes_over: bool,
}

/// The deployment that is driven.
#[derive(Debug)]
struct Driven<W, J> {
    work: Work<W, J>,
    state: watch::Sender<State>,
    records: Records<J>,
}

/// The owner's end of a driver.
#[derive(Debug)]
pub struct Handle {
    /// Sends requests to the driver.
    pub requests: mpsc::Sender<Request>,
    /// The current state of the deployment.
    pub state: watch::Receiver<State>,
    watch: Arc<Mutex<Option<Watch>>>,
}

impl Handle {
    /// What the new version did until now. `None`: it has not been watched since the driver began.
    pub fn figures(&self) -> Option<Figures> {
        self.watch.lock().as_ref().map(Watch::figures)
    }

    /// The same in a few figures, beside those of the old version.
    pub fn glance(&self) -> Option<Glance> {
        self.watch.lock().as_ref().map(Watch::glance)
    }
}

impl<W: World, J: Journal> Driver<W, J> {
    /// A driver that continues a deployment from its journaled state.
    pub fn new(world: Arc<W>, journal: J, clock: Clock, entry: Unfinished) -> (Self, Handle) {
        Self::among(world, journal, clock, entry, None)
    }

    /// The same for a deployment that moves together with others. `companions` has all of them.
    pub fn among(
        world: Arc<W>,
        journal: J,
        clock: Clock,
        entry: Unfinished,
        companions: Option<&Companions>,
    ) -> (Self, Handle) {
        let Unfinished { deployment, state } = entry;
        let state = deployment.plan.resume(state, clock.now());
        let (send, requests) = mpsc::channel(8);
        let (state, see_state) = watch::channel(state);
        let records = Records::new(journal.clone(), deployment.id.clone());
        let others = companions.map(|companions| companions.of(&deployment.id));
        let work = Work::new(world, journal, clock, deployment, others);
        let watch = Arc::clone(&work.watch);
        let deployment = Driven { work, state, records };
        let driver = Self { requests, deployment, takes_over: false };
        (driver, Handle { requests: send, state: see_state, watch })
    }

    /// The same driver, after another process has driven the deployment: it fences the route first.
    pub fn taking_over(self) -> Self {
        Self { takes_over: true, ..self }
    }

    /// Drives the deployment to its end. Fails only if the journal is closed, because all work needs a record first.
    pub async fn run(self) -> Result<State, JournalError> {
        let Self { mut requests, deployment, takes_over } = self;
        if takes_over {
            deployment.take_over().await?;
        }
        deployment.drive(&mut requests).await
    }
}

impl<W: World, J: Journal> Driven<W, J> {
    async fn drive(&self, requests: &mut mpsc::Receiver<Request>) -> Result<State, JournalError> {
        metrics::phase(self.group(), Some(self.state.borrow().phase.name()));
        self.end_commands().await;
        let mut panics = 0;
        loop {
            let state = self.state.borrow().clone();
            if state.phase.is_final() {
                let stuck = state.phase.needs_operator().then(|| state.phase.name());
                metrics::phase(self.group(), stuck);
                return Ok(state);
            }
            match AssertUnwindSafe(self.perform(state, requests)).catch_unwind().await {
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

    fn group(&self) -> &str {
        &self.work.deployment.plan.group
    }

    /// After a panic the driver continues from the journal's last state. After [`MOST_PANICS`] panics the deployment is stuck.
    async fn go_on_after_panic(&self, panics: u32) -> Result<(), JournalError> {
        let id = &self.work.deployment.id;
        let phase = self.state.borrow().phase.name();
        tracing::error!(
            deployment = id,
            phase,
            panics,
            "panic in the driver; this is a bug, please report it"
        );
        self.end_commands().await;
        if let Ok(Some(state)) = self.work.journal.state(id).await {
            self.state.send_replace(state);
        }
        if panics < MOST_PANICS {
            tokio::time::sleep(records::PAUSE).await;
            return Ok(());
        }
        let before = self.state.borrow().clone();
        if before.phase.is_final() {
            return Ok(());
        }
        let next = format!("cutover status {}", quoted(self.group()));
        let phase = Phase::stuck(format!("internal error: a panic in phase {phase}"), next);
        self.record(State { phase, ..before }, String::new()).await
    }

    /// Does the work of a phase until it has an event, or until an operator's request changes the phase.
    async fn perform(
        &self,
        before: State,
        requests: &mut mpsc::Receiver<Request>,
    ) -> Result<Ended, JournalError> {
        let begin = tokio::time::Instant::now();
        let work = self.work.clone();
        self.publish(&before);
        let departed = work.companion_departed(&before);
        tokio::pin!(departed);
        if let Some(event) = departed.as_mut().now_or_never() {
            self.advance(event, requests).await?;
            return Ok(Ended::CutShort);
        }
        let doing = work.perform(&before);
        tokio::pin!(doing);
        let mut listening = true;
        loop {
            tokio::select! {
                event = &mut doing => {
                    metrics::phase_took(self.group(), before.phase.name(), begin.elapsed());
                    self.advance(event, requests).await?;
                    return Ok(Ended::ByItself);
                }
                event = &mut departed => {
                    self.advance(event, requests).await?;
                    return Ok(Ended::CutShort);
                }
                request = requests.recv(), if listening => match request {
                    None => listening = false,
                    Some(request) => {
                        self.take(request, requests).await?;
                        if self.state.borrow().is_other_work(&before) {
                            return Ok(Ended::CutShort);
                        }
                    }
                }
            }
        }
    }

    /// Shows the state to the companions.
    fn publish(&self, state: &State) {
        if let Some(others) = &self.work.others {
            others.publish(state);
        }
    }

    /// A stuck deployment says what its companions do.
    fn with_companions(&self, mut next: State) -> State {
        let had_traffic = self.state.borrow().new_slot_has_traffic();
        if let (Phase::Stuck { reason, .. }, true) = (&mut next.phase, had_traffic) {
            reason.push_str(&self.work.left_by_companions());
        }
        next
    }

    async fn end_commands(&self) {
        let id = &self.work.deployment.id;
        if let Err(error) = self.work.world.end(id).await {
            tracing::error!(deployment = id, error, "failed to end leftover commands");
        }
    }

    /// Applies the event that the work of a phase returned.
    async fn advance(
        &self,
        event: Event,
        requests: &mut mpsc::Receiver<Request>,
    ) -> Result<(), JournalError> {
        let before = self.state.borrow().clone();
        let deployment = &self.work.deployment;
        let message = messages::of_event(deployment, &before, &event);
        let next = match deployment.plan.step(&before, event, self.work.clock.now()) {
            Ok(next) => next,
            Err(illegal) => {
                tracing::error!(deployment = deployment.id, %illegal, "a bug: please report it");
                let next = format!("cutover status {}", quoted(self.group()));
                State { phase: Phase::stuck(format!("internal error: {illegal}"), next), ..before.clone() }
            }
        };
        let overtaking = self.diagnose_at_end(&next, requests).await;
        if let Some(back) = self.record_or_go_back(&before, next, message, requests).await? {
            self.take(back, requests).await?;
        }
        match overtaking {
            Some(request) => self.take(request, requests).await,
            None => Ok(()),
        }
    }

    /// Applies the request of an operator.
    async fn take(
        &self,
        request: Request,
        requests: &mut mpsc::Receiver<Request>,
    ) -> Result<(), JournalError> {
        let mut overtaken = Some(request);
        while let Some(Request { event, reply }) = overtaken.take() {
            let Some(event) = event else {
                let _ = reply.send(Ok(()));
                break;
            };
            let before = self.state.borrow().clone();
            let message = messages::of_event(&self.work.deployment, &before, &event);
            let answer = match self.work.deployment.plan.step(&before, event, self.work.clock.now()) {
                Ok(next) => {
                    overtaken = self.record_or_go_back(&before, next, message, requests).await?;
                    match overtaken {
                        Some(_) => {
                            Err("a rollback came first, because the journal cannot be written".to_owned())
                        }
                        None => Ok(()),
                    }
                }
                Err(illegal) => Err(format!("{} is not possible in this phase", illegal.event)),
            };
            let _ = reply.send(answer);
        }
        Ok(())
    }

    /// Journals the next state and then publishes it. While the journal cannot be written, a request that moves traffic back comes
    /// first: it is returned, and the state stays as it was before.
    async fn record_or_go_back(
        &self,
        before: &State,
        next: State,
        message: String,
        requests: &mut mpsc::Receiver<Request>,
    ) -> Result<Option<Request>, JournalError> {
        tokio::select! {
            recorded = self.record(next, message) => recorded.map(|()| None),
            back = self.wants_back(before, requests) => Ok(Some(back)),
        }
    }

    /// While the journal cannot be written, waits for a request that moves traffic back. It does not wait for the record of a state
    /// that goes forward: what that state has done is in `before`, too.
    async fn wants_back(&self, before: &State, requests: &mut mpsc::Receiver<Request>) -> Request {
        while !self.records.is_failing() {
            tokio::time::sleep(LOOK).await;
        }
        let Work { clock, deployment, .. } = &self.work;
        let goes_forward = matches!(
            before.phase,
            Phase::Soaking { .. } | Phase::Confirming(_) | Phase::Draining { .. } | Phase::Warm { .. }
        );
        let moves_back = |event: &Event| {
            let next = deployment.plan.step(before, event.clone(), clock.now());
            goes_forward && next.is_ok_and(|next| matches!(next.phase, Phase::RollingBack { .. }))
        };
        loop {
            match requests.recv().await {
                Some(request) if request.event.as_ref().is_some_and(moves_back) => return request,
                Some(Request { event: None, reply }) => drop(reply.send(Ok(()))),
                Some(Request { reply, .. }) => {
                    let why = "the journal cannot be written, so only a rollback is possible now";
                    drop(reply.send(Err(why.to_owned())));
                }
                None => std::future::pending().await,
            }
        }
    }

    /// Journals the next state and then publishes it.
    async fn record(&self, next: State, message: String) -> Result<(), JournalError> {
        let Work { clock, deployment, .. } = &self.work;
        let id = &deployment.id;
        let glance = self.work.watch.lock().as_ref().map(Watch::glance);
        let next = self.with_companions(State { glance: glance.or(next.glance.clone()), ..next });
        let message = messages::with_end(message, deployment, &next);
        self.records.write(clock.now(), &next, &message).await?;
        let (group, phase) = (self.group(), next.phase.name());
        let is_bad = matches!(&next.phase, Phase::RolledBack { but: Some(_), .. });
        if is_bad || next.phase.needs_operator() {
            tracing::error!(deployment = id, group, phase, "{message}");
        } else if next.phase.cause().is_some() {
            tracing::warn!(deployment = id, group, phase, "{message}");
        } else {
            tracing::info!(deployment = id, group, phase, "{message}");
        }
        if is_bad {
            metrics::rolled_back_to_bad(group);
        }
        self.publish(&next);
        let before = self.state.send_replace(next.clone());
        metrics::phase(group, Some(phase));
        if let Some(outcome) = next.phase.outcome().filter(|outcome| before.phase.outcome() != Some(*outcome))
        {
            metrics::ended(group, outcome.as_str(), deployment.started.until(clock.now()));
        }
        Ok(())
    }
}

#[derive(PartialEq, Eq)]
enum Ended {
    ByItself,
    CutShort,
}
