//! What operators ask of a running deployment.

use super::phase::Store::{Reading, Storing};
use super::{
    Cause, CauseKind, Event, Illegal, InDatabase, Part, Phase, Plan, RollbackStep, State, TeardownStep, Time,
};

impl Plan {
    /// The slot that a command stops in this state, as the last work of the deployment. Nothing depends on that command. A slot
    /// that is stopped so that the database can be reverted is none of them.
    pub fn cleans_up(&self, state: &State) -> Option<Part> {
        match &state.phase {
            Phase::Decommissioning(_) => Some(Part::Old),
            Phase::TearingDown { step: TeardownStep::Teardown, .. } if !self.reverts(state, false) => {
                Some(Part::New)
            }
            Phase::RollingBack { step: RollbackStep::Teardown, keep_database, .. }
                if !self.reverts(state, *keep_database) =>
            {
                Some(Part::New)
            }
            _ => None,
        }
    }

    /// The name of a slot.
    pub fn slot(&self, part: Part) -> &str {
        match part {
            Part::Old => &self.from,
            Part::New => &self.to,
        }
    }

    /// Whether another deployment or switch may begin, because this one only watches or stops a slot.
    pub fn may_be_superseded(&self, state: &State) -> bool {
        state.phase.only_watches() || self.cleans_up(state).is_some()
    }

    /// Whether the migration is still to be reverted.
    pub(super) fn reverts(&self, state: &State, keep_database: bool) -> bool {
        !keep_database && self.in_database(state) == InDatabase::Revertible
    }

    /// The state after an operator's request. Fails if the request is not possible in this phase.
    pub(super) fn ask(&self, state: &State, event: Event, now: Time) -> Result<State, Illegal> {
        match event {
            Event::Pause(by) => pause(state, by),
            Event::Resume(_) => resume(state),
            Event::Promote(_) => self.promote(state, now),
            Event::Abort(why) => self.abort(state, why, now),
            Event::Rollback(why) => self.ask_rollback(state, why, now),
            Event::Supersede if state.phase.only_watches() => self.take_over(state),
            Event::TakeOver => self.take_over(state),
            event => Err(Illegal::of(&state.phase, &event)),
        }
    }

    /// Ends a wait: of a pause, of a step, or of the soak.
    fn promote(&self, state: &State, now: Time) -> Result<State, Illegal> {
        let go_on = State { paused: None, ..state.clone() };
        match &state.phase {
            Phase::Switching(Reading) if state.paused.is_some() => Ok(go_on),
            Phase::Soaking { .. } => Ok(self.next_step(go_on, now)),
            phase => Err(Illegal::of(phase, &Event::Promote(String::new()))),
        }
    }

    fn abort(&self, state: &State, why: String, now: Time) -> Result<State, Illegal> {
        let stay = state.clone();
        let cause = |why| Cause::new(CauseKind::Operator, why);
        let ends = self.cleans_up(state).is_some();
        Ok(match &state.phase {
            // An interrupted migration or switch would leave an unknown state, so the abort waits.
            Phase::Migrating | Phase::Switching(Storing) => State { abort: Some(why), ..stay },
            Phase::Provisioning | Phase::Probing { .. } | Phase::Smoking | Phase::Switching(Reading) => {
                self.give_up(stay, cause(why), now)
            }
            Phase::Soaking { .. } | Phase::Confirming(_) | Phase::Draining { .. } => {
                self.roll_back(stay, cause(why), now)
            }
            // Traffic does not depend on these commands any more, so nobody has to wait for them.
            Phase::Decommissioning(_) => {
                let note = format!(
                    "slot \"{}\" may still run: {why}; to stop it, type: {}",
                    self.from,
                    self.rerun("decommission")
                );
                State { phase: Phase::Completed { note: Some(note) }, ..stay }
            }
            Phase::TearingDown { cause, step: TeardownStep::Teardown, .. } if ends => {
                State { phase: Phase::Failed(self.still_runs(cause, &why)), ..stay }
            }
            Phase::RollingBack { cause, step: RollbackStep::Teardown, .. } if ends => {
                let phase = Phase::RolledBack { cause: self.still_runs(cause, &why), but: None };
                State { phase, ..stay }
            }
            // It may hang, and an operator may need another switch. What it has done is not known.
            Phase::TearingDown { cause, step: TeardownStep::Revert, .. } => {
                let reason = format!("{cause}; no traffic has moved, but the revert was ended: {why}");
                State { phase: Phase::stuck(reason, self.rerun("revert")), ..stay }
            }
            Phase::RollingBack { cause, step: RollbackStep::Revert, .. } => {
                let from = &self.from;
                let reason =
                    format!("{cause}; traffic is back on \"{from}\", but the revert was ended: {why}");
                State { phase: Phase::stuck(reason, self.rerun("revert")), ..stay }
            }
            Phase::RollingBack { cause, step: RollbackStep::Watch { .. }, .. } => {
                State { phase: Phase::RolledBack { cause: cause.clone(), but: None }, ..stay }
            }
            phase => return Err(Illegal::of(phase, &Event::Abort(why))),
        })
    }

    fn ask_rollback(&self, state: &State, why: String, now: Time) -> Result<State, Illegal> {
        let stay = state.clone();
        Ok(match &state.phase {
            // Users are on the new version already, with the share of an earlier step.
            Phase::Switching(Storing) if state.has_share() => State { abort: Some(why), ..stay },
            Phase::Soaking { .. } | Phase::Confirming(_) | Phase::Draining { .. } | Phase::Warm { .. } => {
                self.roll_back(stay, Cause::new(CauseKind::Operator, why), now)
            }
            phase => return Err(Illegal::of(phase, &Event::Rollback(why))),
        })
    }

    /// Another deployment or switch begins. A command that stops a slot is left to the caller, which runs it beside.
    fn take_over(&self, state: &State) -> Result<State, Illegal> {
        let stay = state.clone();
        if !self.may_be_superseded(state) {
            return Err(Illegal::of(&state.phase, &Event::TakeOver));
        }
        let phase = match &state.phase {
            Phase::Warm { .. } => {
                let note = format!("slot \"{}\" is left running", self.from);
                Phase::Completed { note: Some(note) }
            }
            Phase::Decommissioning(_) => {
                let note = format!("slot \"{}\" is stopped while another deployment runs", self.from);
                Phase::Completed { note: Some(note) }
            }
            Phase::RollingBack {
                cause, step: RollbackStep::Watch { .. } | RollbackStep::Teardown, ..
            } => Phase::RolledBack { cause: cause.clone(), but: None },
            Phase::TearingDown { cause, step: TeardownStep::Teardown, .. } => Phase::Failed(cause.clone()),
            phase => return Err(Illegal::of(phase, &Event::TakeOver)),
        };
        Ok(State { phase, ..stay })
    }

    fn still_runs(&self, cause: &Cause, why: &str) -> Cause {
        let text = format!(
            "{cause}; slot \"{}\" may still run: {why}; to stop it, type: {}",
            self.to,
            self.rerun("teardown")
        );
        Cause { text, ..cause.clone() }
    }
}

fn pause(state: &State, by: String) -> Result<State, Illegal> {
    match state.paused {
        None if comes_to_a_wait(&state.phase) => Ok(State { paused: Some(by), ..state.clone() }),
        _ => Err(Illegal::of(&state.phase, &Event::Pause(by))),
    }
}

fn resume(state: &State) -> Result<State, Illegal> {
    match state.paused {
        Some(_) if comes_to_a_wait(&state.phase) => Ok(State { paused: None, ..state.clone() }),
        _ => Err(Illegal::of(&state.phase, &Event::Resume(String::new()))),
    }
}

/// Whether a pause takes effect in this phase, or in one that follows.
fn comes_to_a_wait(phase: &Phase) -> bool {
    matches!(
        phase,
        Phase::Migrating
            | Phase::Provisioning
            | Phase::Probing { .. }
            | Phase::Smoking
            | Phase::Switching(Reading)
            | Phase::Soaking { .. }
    )
}
