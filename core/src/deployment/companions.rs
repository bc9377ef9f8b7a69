//! Deployments of several groups that move together: where they wait for each other, and what one does when another fails.
//!
//! ```text
//! switching: reading | storing -> soaking | confirming -> draining -> warm | decommissioning
//!               all there   all proven   all good    all confirm         all over
//! ```
//!
//! No deployment passes one of these points before all have reached it. Each keeps its own state, so after a restart the states
//! in the journal say who has passed. A deployment without companions passes all of them at once.

use super::phase::Store::{Reading, Storing};
use super::{Cause, CauseKind, Event, Illegal, Phase, Plan, RollbackStep, State, Time};

/// How far a deployment has come on the way forward. A later one is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// In a step of the traffic.
    Step {
        /// The step, from 0.
        step: usize,
        /// How far the step is.
        stage: Stage,
    },
    /// It makes the switch permanent.
    Confirming,
    /// The switch is permanent, and there is a way back.
    Committed,
    /// Its own time for a way back is over.
    Expired,
    /// There is no way back.
    Over,
}

/// How far a step of the traffic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The new version is being prepared.
    Preparing,
    /// The new version has passed its smoke tests.
    Prepared,
    /// The new version has just been verified, and the switch may be sent.
    Proven,
    /// The new version has the traffic of the step.
    Switched,
    /// The verdict on the step is good.
    Good,
}

/// What a companion has come to, apart from its way forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It goes back, or has gone back: it has no traffic on its new version, or soon has none.
    Back(Cause),
    /// It has stopped somewhere, and an operator must act.
    Stuck(String),
}

impl State {
    /// How far the deployment has come. `is_ready`: the work of the phase has come to the point where it waits for companions.
    /// `None` if it does not go forward.
    pub fn progress(&self, is_ready: bool) -> Option<Progress> {
        let at = |stage| Some(Progress::Step { step: self.step, stage });
        match &self.phase {
            Phase::Migrating | Phase::Provisioning | Phase::Probing { .. } | Phase::Smoking => {
                at(Stage::Preparing)
            }
            Phase::Switching(Reading) if self.paused.is_some() => at(Stage::Preparing),
            Phase::Switching(Storing) if is_ready => at(Stage::Proven),
            Phase::Switching(_) => at(Stage::Prepared),
            Phase::Soaking { .. } if is_ready => at(Stage::Good),
            Phase::Soaking { .. } => at(Stage::Switched),
            Phase::Confirming(_) => Some(Progress::Confirming),
            Phase::Draining { .. } | Phase::Warm { .. } if is_ready => Some(Progress::Expired),
            Phase::Draining { .. } | Phase::Warm { .. } => Some(Progress::Committed),
            Phase::Decommissioning(_) | Phase::Completed { .. } => Some(Progress::Over),
            Phase::TearingDown { .. } | Phase::Failed(_) => None,
            Phase::RollingBack { .. } | Phase::RolledBack { .. } | Phase::Stuck { .. } => None,
        }
    }

    /// Whether the deployment may pass the point where it waits, which all companions must have reached.
    pub fn may_pass(&self, companions: impl IntoIterator<Item = Option<Progress>>) -> bool {
        let point = self.progress(true);
        point.is_some() && companions.into_iter().all(|progress| progress >= point)
    }

    /// What the deployment has come to for its companions. `None` while it goes forward, and after it has completed.
    pub fn departure(&self) -> Option<Departure> {
        match &self.phase {
            Phase::Stuck { reason, .. } => Some(Departure::Stuck(reason.clone())),
            phase => phase.cause().cloned().map(Departure::Back),
        }
    }

    /// Whether the new slot has traffic in this phase, as far as this deployment has moved it.
    pub fn new_slot_has_traffic(&self) -> bool {
        match &self.phase {
            Phase::Switching(_) => self.has_share(),
            Phase::Soaking { .. } | Phase::Confirming(_) | Phase::Draining { .. } | Phase::Warm { .. } => {
                true
            }
            Phase::RollingBack { step, .. } => *step == RollbackStep::SwitchBack,
            _ => false,
        }
    }

    /// Whether this deployment follows a companion that goes back. An effect that must not be interrupted ends first; then a state
    /// that follows comes.
    pub fn follows_companions(&self) -> bool {
        matches!(
            self.phase,
            Phase::Provisioning
                | Phase::Probing { .. }
                | Phase::Smoking
                | Phase::Switching(Reading)
                | Phase::Soaking { .. }
                | Phase::Confirming(_)
                | Phase::Draining { .. }
                | Phase::Warm { .. }
        )
    }
}

impl Plan {
    /// The cause for this deployment when a companion of `group` goes back. Its own version is not to blame.
    pub fn followed(group: &str, cause: &Cause) -> Cause {
        // What an operator asked of one group is asked of all.
        let kind = match cause.kind {
            CauseKind::Operator => CauseKind::Operator,
            _ => CauseKind::Companion,
        };
        Cause::new(kind, format!("group \"{group}\", which moves with this one, goes back: {cause}"))
    }

    /// The state after a companion has gone back or is stuck.
    pub(super) fn follow(&self, state: &State, event: Event, now: Time) -> Result<State, Illegal> {
        let has_moved = state.new_slot_has_traffic();
        let may_follow = state.follows_companions() || matches!(state.phase, Phase::Switching(Storing));
        match event {
            Event::CompanionBack(cause) if may_follow && has_moved => {
                Ok(self.roll_back(state.clone(), cause, now))
            }
            Event::CompanionBack(cause) if may_follow => Ok(self.give_up(state.clone(), cause, now)),
            // Users of the other group stay on its new version. To go back alone would give them two versions.
            Event::CompanionStays(why) if may_follow && has_moved => {
                Ok(State { phase: Phase::stuck(why, self.switch_to(&self.from)), ..state.clone() })
            }
            event => Err(Illegal::of(&state.phase, &event)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Retry, Store};
    use super::*;

    /// All states of the way forward of one step, in their order, and whether the work of each is ready.
    fn forward() -> Vec<(State, bool)> {
        let state = State::new;
        let soaking = |step| State { step, ..State::new(Phase::Soaking { until: None }) };
        vec![
            (state(Phase::Migrating), false),
            (state(Phase::Switching(Store::Reading)), false),
            (state(Phase::Switching(Store::Storing)), true),
            (soaking(0), false),
            (soaking(0), true),
            (soaking(1), false),
            (state(Phase::Confirming(Retry::default())), false),
            (state(Phase::Draining { until: Time(0) }), false),
            (state(Phase::Warm { until: Time(0) }), true),
            (state(Phase::Completed { note: None }), false),
        ]
    }

    #[test]
    fn a_later_state_has_more_progress() {
        for pair in forward().windows(2) {
            let [(before, was_ready), (after, is_ready)] = pair else { continue };
            assert!(before.progress(*was_ready) < after.progress(*is_ready), "{before:?} {after:?}");
        }
    }

    #[test]
    fn nobody_passes_before_all_are_there() {
        for (waiting, _) in forward() {
            for (other, is_ready) in forward() {
                let there = other.progress(is_ready);
                assert_eq!(
                    waiting.may_pass([there]),
                    there >= waiting.progress(true),
                    "{waiting:?} waits for {other:?}"
                );
            }
            let gone = State::new(Phase::Failed(Cause::new(CauseKind::Probe, "")));
            assert!(!waiting.may_pass([gone.progress(false)]));
        }
    }

    #[test]
    fn a_paused_one_is_not_there() {
        let reading = State::new(Phase::Switching(Store::Reading));
        let paused = State { paused: Some("me".to_owned()), ..reading.clone() };
        assert!(!reading.may_pass([paused.progress(false)]));
    }

    #[test]
    fn one_that_begins_with_the_last_step_waits_there_for_the_others() {
        // It had nothing to go back to, so it takes no share.
        let at = |step| State { step, ..State::new(Phase::Switching(Store::Storing)) };
        assert!(at(0).may_pass([at(2).progress(true)]));
        assert!(!at(2).may_pass([at(0).progress(true)]));
    }
}
