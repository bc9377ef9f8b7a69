//! Steps and the soak: what follows from the verdict, and from the time of a step.

use std::time::Duration;

use super::phase::Store::Storing;
use super::{Cause, CauseKind, Event, Hold, Illegal, Phase, Plan, State, Time};

/// A migration is reverted at least in this time, however short the soak is.
const LEAST_WRITTEN: Duration = Duration::from_secs(600);

impl Plan {
    /// The beginning of the watch over a step.
    pub(super) fn soaking(&self, state: State, now: Time) -> State {
        let until = self.time_of(state.step).map(|time| now.after(time));
        State { phase: Phase::Soaking { until }, ..state }
    }

    /// The longest time of the step. `None`: it lasts until an operator promotes it.
    pub(super) fn time_of(&self, step: usize) -> Option<Duration> {
        match self.steps.get(step).map(|step| step.hold) {
            Some(Hold::For(time)) => Some(time),
            Some(Hold::Manual) => None,
            None => Some(self.soak),
        }
    }

    /// What follows from the result of the watch, at `until`.
    pub(super) fn after_soak(
        &self,
        state: &State,
        until: Option<Time>,
        event: Event,
        now: Time,
    ) -> Result<State, Illegal> {
        let stay = state.clone();
        let is_over = until.is_some_and(|until| now >= until) && state.paused.is_none();
        Ok(match event {
            Event::SoakPassed if is_over => self.next_step(stay, now),
            Event::SoakInconclusive(_)
                if is_over && (self.accept_inconclusive || state.has_nothing_before()) =>
            {
                self.next_step(stay, now)
            }
            Event::SoakInconclusive(why) if is_over => {
                let why = format!("soak inconclusive: {why}");
                self.roll_back(stay, Cause::new(CauseKind::Inconclusive, why), now)
            }
            Event::SoakBad(why) => self.roll_back(stay, Cause::new(CauseKind::Soak, why), now),
            Event::SoakBlind(why) => self.roll_back(stay, Cause::new(CauseKind::Blind, why), now),
            event => return Err(Illegal::of(&state.phase, &event)),
        })
    }

    /// Whether users have written with the migration for much longer than the plan says, as in a step that waited for days. Then a
    /// revert would lose what they have written.
    pub(super) fn keeps_database(&self, state: &State, now: Time) -> bool {
        if matches!(state.phase, Phase::Warm { .. }) {
            return true;
        }
        let timed: Duration = (0..=self.steps.last()).filter_map(|step| self.time_of(step)).sum();
        let since = state.marks.as_ref().and_then(|marks| marks.since);
        since.is_some_and(|since| since.until(now) > LEAST_WRITTEN + (timed + self.extend) * 2)
    }

    /// The switch to the next step. After the last one, the switch is made permanent.
    pub(super) fn next_step(&self, state: State, now: Time) -> State {
        if state.step >= self.steps.last() {
            return State { phase: Phase::confirming(now), ..state };
        }
        let marks = state.marks.map(|marks| marks.before_next());
        State { phase: Phase::Switching(Storing), step: state.step + 1, marks, ..state }
    }
}
