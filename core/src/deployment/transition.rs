//! The transition function.

use super::phase::Store::{Reading, Storing};
use super::{
    Cause, CauseKind, Effect, Event, Illegal, Marks, Phase, Plan, Retry, RollbackStep, State, TeardownStep,
    Time,
};

use crate::shell::quoted;

/// Tries of a step that talks to nginx and probes: pauses of about 35 seconds, beside the time that the probes take.
const MOST_SWITCHES: u32 = 8;
/// Tries of a step that runs a command, or reads nginx before it: pauses of about 15 seconds.
const MOST_COMMANDS: u32 = 6;

impl Plan {
    /// How a deployment begins, and its first effect.
    pub fn begin(&self, now: Time) -> (State, Option<Effect>) {
        let fresh =
            State { phase: Phase::Migrating, migrated: false, provisioned: false, abort: None, marks: None };
        let state = if self.migrate { fresh } else { self.provisioning(fresh, now) };
        let effect = state.effect();
        (state, effect)
    }

    /// A state as it goes on after a restart. A wall clock that was set back meanwhile must not prolong anything: no deadline
    /// is further away than it was at first. A slot that nobody has probed meanwhile gets its whole time again.
    pub fn resume(&self, mut state: State, now: Time) -> State {
        let clamp = |time: &mut Time, most| *time = (*time).min(now.after(most));
        match &mut state.phase {
            Phase::Probing { until } => *until = now.after(self.probe_deadline),
            Phase::Soaking { until, .. } => clamp(until, self.soak),
            Phase::Draining { until, .. } => clamp(until, self.drain),
            Phase::Warm { until, .. } => clamp(until, self.warm),
            Phase::RollingBack { step: RollbackStep::Drain { until }, .. } => clamp(until, self.drain),
            Phase::RollingBack { retry, .. }
            | Phase::TearingDown { retry, .. }
            | Phase::Decommissioning(retry) => retry.clamp(now),
            _ => {}
        }
        state
    }

    /// What follows from an event: the next state, and the effect that it calls for. No effect: the deployment has ended,
    /// or the one under way goes on.
    pub fn step(&self, state: &State, event: Event, now: Time) -> Result<(State, Option<Effect>), Illegal> {
        let next = self.next(state, event, now)?;
        let effect = next.effect().filter(|effect| Some(effect) != state.effect().as_ref());
        Ok((next, effect))
    }

    fn next(&self, state: &State, event: Event, now: Time) -> Result<State, Illegal> {
        use CauseKind as Kind;
        let stay = state.clone();
        let to = |phase| Ok(State { phase, ..stay.clone() });
        match (&state.phase, event) {
            // Cutting a migration or a store short would leave behind what nobody knows: the abort waits.
            (Phase::Migrating | Phase::Switching(Storing), Event::Abort(why)) => {
                Ok(State { abort: Some(why), ..stay })
            }
            (Phase::Migrating, Event::Migrated) => {
                let migrated = State { migrated: true, ..stay };
                Ok(match migrated.abort.clone() {
                    Some(why) => self.give_up(migrated, Cause::new(Kind::Operator, why), now),
                    None => self.provisioning(migrated, now),
                })
            }
            (Phase::Migrating, Event::MigratedNothing) => Ok(match stay.abort.clone() {
                Some(why) => self.give_up(stay, Cause::new(Kind::Operator, why), now),
                None => self.provisioning(stay, now),
            }),
            (Phase::Migrating, Event::MigrateFailed(why)) => {
                Ok(self.give_up(stay, Cause::new(Kind::Migrate, why), now))
            }
            (Phase::Provisioning, Event::Provisioned) => {
                to(Phase::Probing { until: now.after(self.probe_deadline) })
            }
            (Phase::Provisioning, Event::ProvisionFailed(why)) => {
                Ok(self.give_up(stay, Cause::new(Kind::Provision, why), now))
            }
            // The slot that would be started has traffic: nothing is done to it, nor to the database under it.
            (Phase::Migrating | Phase::Provisioning, Event::RouteMoved(moved)) => {
                to(Phase::Failed(Cause::new(Kind::RouteMoved, moved)))
            }
            (Phase::Probing { .. }, Event::Ready) => to(Phase::Smoking),
            (Phase::Probing { .. }, Event::NotReady(why)) => {
                Ok(self.give_up(stay, Cause::new(Kind::Probe, why), now))
            }
            (Phase::Smoking, Event::SmokePassed) => to(Phase::Switching(Reading)),
            (Phase::Smoking, Event::SmokeFailed(why)) => {
                Ok(self.give_up(stay, Cause::new(Kind::Smoke, why), now))
            }
            (
                Phase::Provisioning | Phase::Probing { .. } | Phase::Smoking | Phase::Switching(Reading),
                Event::Abort(why),
            ) => Ok(self.give_up(stay, Cause::new(Kind::Operator, why), now)),

            (Phase::Switching(Reading), Event::RouteRead(marks)) => {
                Ok(State { phase: Phase::Switching(Storing), marks: Some(marks), ..stay })
            }
            (Phase::Switching(_), Event::NotSwitched(why)) => {
                Ok(self.give_up(stay, Cause::new(Kind::Switch, why), now))
            }
            (Phase::Switching(_), Event::RouteMoved(moved)) => {
                Ok(self.give_up(stay, Cause::new(Kind::RouteMoved, moved), now))
            }
            (Phase::Switching(Storing), Event::Switched { generation }) => {
                let marks = stay.marks.map(|marks| Marks { switched: Some(generation), ..marks });
                let switched = State { marks, ..stay };
                Ok(match switched.abort.clone() {
                    Some(why) => roll_back(switched, Cause::new(Kind::Operator, why), now, false),
                    None => {
                        let until = now.after(self.soak);
                        State { phase: Phase::Soaking { until, generation }, ..switched }
                    }
                })
            }
            (Phase::Switching(Storing), Event::SwitchUncertain(why)) => {
                Ok(roll_back(stay, Cause::new(Kind::Switch, why), now, false))
            }

            (Phase::Soaking { until, generation, .. }, Event::SoakPassed) if now >= *until => {
                to(Phase::Draining { until: now.after(self.drain), generation: *generation })
            }
            (Phase::Soaking { until, generation, .. }, Event::SoakInconclusive(why)) if now >= *until => {
                if self.accept_inconclusive || state.has_nothing_before() {
                    to(Phase::Draining { until: now.after(self.drain), generation: *generation })
                } else {
                    Ok(roll_back(stay, Cause::new(Kind::Inconclusive, why), now, false))
                }
            }
            (Phase::Soaking { .. }, Event::SoakBad(why)) => {
                Ok(roll_back(stay, Cause::new(Kind::Soak, why), now, false))
            }
            (Phase::Soaking { .. }, Event::SoakBlind(why)) => {
                Ok(roll_back(stay, Cause::new(Kind::Blind, why), now, false))
            }
            (
                Phase::Soaking { .. } | Phase::Draining { .. } | Phase::RollingBack { .. },
                Event::RouteMoved(moved),
            ) => to(self.stuck(moved, self.status())),
            (Phase::Soaking { .. } | Phase::Draining { .. }, Event::Abort(why) | Event::Rollback(why)) => {
                Ok(roll_back(stay, Cause::new(Kind::Operator, why), now, false))
            }
            (Phase::Draining { generation, .. }, Event::Drained | Event::DrainTimedOut(_)) => {
                if self.warm.is_zero() {
                    to(self.decommissioning(now))
                } else {
                    to(Phase::Warm { until: now.after(self.warm), generation: *generation })
                }
            }

            (Phase::Warm { .. }, Event::WarmOver) => to(self.decommissioning(now)),
            (Phase::Warm { .. }, Event::Supersede) => {
                let note = format!("slot \"{}\" is left running", self.from);
                to(Phase::Completed { note: Some(note) })
            }
            (Phase::Warm { .. } | Phase::Decommissioning(_), Event::RouteMoved(moved)) => {
                let note = format!("{moved}; slot \"{}\" is left running", self.from);
                to(Phase::Completed { note: Some(note) })
            }
            (Phase::Warm { .. }, Event::Rollback(why)) => {
                Ok(roll_back(stay, Cause::new(Kind::Operator, why), now, true))
            }
            (Phase::Decommissioning(_), Event::Decommissioned) => to(Phase::Completed { note: None }),
            (Phase::Decommissioning(retry), Event::StepFailed(why)) => {
                to(match retry.next(now, MOST_COMMANDS) {
                    Some(retry) => Phase::Decommissioning(retry),
                    None => {
                        let note = format!(
                            "slot \"{}\" could not be stopped: {why}; to try again, type: {}",
                            self.from,
                            self.rerun("decommission")
                        );
                        Phase::Completed { note: Some(note) }
                    }
                })
            }

            (Phase::TearingDown { cause, step: TeardownStep::Revert, .. }, Event::Reverted) => {
                let reverted = State { migrated: false, ..state.clone() };
                Ok(self.give_up(reverted, cause.clone(), now))
            }
            (Phase::TearingDown { cause, step: TeardownStep::Teardown, .. }, Event::TornDown) => {
                let stopped = State { provisioned: false, ..state.clone() };
                Ok(self.give_up(stopped, cause.clone(), now))
            }
            // A preview holds the slot: it is stopped first, and the database reverted then.
            (Phase::TearingDown { cause, step: TeardownStep::Revert, .. }, Event::Held(_))
                if self.decommission && state.provisioned =>
            {
                let retry = Retry { failed: 0, at: now };
                to(Phase::TearingDown { cause: cause.clone(), step: TeardownStep::Teardown, retry })
            }
            (Phase::TearingDown { cause, step, .. }, Event::RouteMoved(moved)) => {
                let left = match step {
                    TeardownStep::Revert => "the database is not reverted",
                    TeardownStep::Teardown => "it is left running",
                };
                let reason =
                    format!("{cause}; but slot \"{}\" may have traffic, so {left}: {moved}", self.to);
                to(self.stuck(reason, self.status()))
            }
            (Phase::TearingDown { cause, step, retry }, Event::StepFailed(why) | Event::Held(why)) => {
                to(match retry.next(now, MOST_COMMANDS) {
                    Some(retry) => Phase::TearingDown { cause: cause.clone(), step: *step, retry },
                    None => {
                        let (what, next) = match step {
                            TeardownStep::Revert => ("the database could not be reverted", "revert"),
                            TeardownStep::Teardown => ("the new slot could not be stopped", "teardown"),
                        };
                        let reason = format!("{cause}; no traffic has moved, but {what}: {why}");
                        self.stuck(reason, self.rerun(next))
                    }
                })
            }

            (Phase::RollingBack { cause, step, retry, keep_database }, event) => {
                self.rolling_back(state, (cause, *step, *retry, *keep_database), event, now)
            }
            (phase, event) => Err(illegal(phase, &event)),
        }
    }

    fn rolling_back(
        &self,
        state: &State,
        (cause, step, retry, keep_database): (&Cause, RollbackStep, Retry, bool),
        event: Event,
        now: Time,
    ) -> Result<State, Illegal> {
        use RollbackStep::{Drain, Revert, SwitchBack, Teardown, Verify};
        let at = |step, retry| State {
            phase: Phase::RollingBack { cause: cause.clone(), step, retry, keep_database },
            ..state.clone()
        };
        let stuck = |reason, next| State { phase: self.stuck(reason, next), ..state.clone() };
        let again = format!("cutover switch {} --to {}", quoted(&self.group), quoted(&self.from));
        let here = format!("cutover switch {} --to {}", quoted(&self.group), quoted(&self.to));
        let forward = format!("cutover deploy {} --version VERSION", quoted(&self.group));
        Ok(match (step, event) {
            // The tries go on being counted over both steps: a slot that is healthy and sick by turns must come to an end.
            (Verify, Event::OldHealthy) => at(SwitchBack, Retry { at: now, ..retry }),
            (Verify | SwitchBack, Event::OldSick(_)) if state.has_nothing_before() => {
                let (from, to) = (&self.from, &self.to);
                let reason = format!(
                    "{cause}; slot \"{from}\" was not healthy before the switch either, so there is nothing to go back to, and traffic stays on \"{to}\""
                );
                match cause.kind.is_verdict() {
                    true => stuck(format!("{reason}; mend the release and deploy it"), forward),
                    // Nothing is known against the release. The command brings the switch to disk.
                    false => stuck(format!("{reason}; if it is good, confirm it"), here),
                }
            }
            // Not judged for want of requests, and not worse than what there was: no reason to leave it.
            (Verify | SwitchBack, Event::OldWorse(_)) if cause.kind == CauseKind::Inconclusive => {
                let generation = state.marks.and_then(|marks| marks.switched).unwrap_or_default();
                State { phase: Phase::Draining { until: now.after(self.drain), generation }, ..state.clone() }
            }
            (Verify | SwitchBack, Event::OldWorse(why)) => {
                let (from, to) = (&self.from, &self.to);
                let reason = format!(
                    "{cause}; but slot \"{from}\" {why}; so traffic stays on \"{to}\"; mend the release and deploy it"
                );
                stuck(reason, forward)
            }
            (Verify | SwitchBack, Event::OldSick(why)) => match retry.next(now, MOST_SWITCHES) {
                Some(retry) => at(Verify, retry),
                None => {
                    let (from, to) = (&self.from, &self.to);
                    let reason =
                        format!("{cause}; slot \"{from}\" is sick too, so traffic stays on \"{to}\": {why}");
                    match state.marks.is_some_and(|marks| marks.old.healthy == 0) {
                        true => stuck(
                            format!(
                                "{reason}; but before the switch it answered users, though it did not pass its probe then either: if it is there, go back without asking the probe"
                            ),
                            format!("{again} --force"),
                        ),
                        false => stuck(
                            format!("{reason}; once \"{from}\" is healthy again, go back by hand"),
                            again,
                        ),
                    }
                }
            },
            (Verify | SwitchBack, Event::StepFailed(why)) => match retry.next(now, MOST_SWITCHES) {
                Some(retry) => at(Verify, retry),
                None => {
                    let reason = format!("{cause}; traffic could not be moved back: {why}");
                    stuck(reason, again)
                }
            },
            (Verify | SwitchBack, Event::SwitchedBack) => {
                at(Drain { until: now.after(self.drain) }, Retry { failed: 0, at: now })
            }
            (Drain { .. }, Event::Drained) => self.after_drain(state, cause, keep_database, now),
            // The database is not changed under requests that have not ended: first they are cut off.
            (Drain { .. }, Event::DrainTimedOut(_)) if self.decommission => {
                at(Teardown, Retry { failed: 0, at: now })
            }
            (Drain { .. }, Event::DrainTimedOut(_)) => self.after_drain(state, cause, keep_database, now),
            (Revert, Event::Reverted) => {
                let reverted = State { migrated: false, ..state.clone() };
                self.after_drain(&reverted, cause, keep_database, now)
            }
            (Teardown, Event::TornDown) => {
                let stopped = State { provisioned: false, ..state.clone() };
                self.after_drain(&stopped, cause, keep_database, now)
            }
            (Revert, Event::Held(_)) if self.decommission && state.provisioned => {
                at(Teardown, Retry { failed: 0, at: now })
            }
            (Revert | Teardown, Event::StepFailed(why) | Event::Held(why)) => match retry
                .next(now, MOST_COMMANDS)
            {
                Some(retry) => at(step, retry),
                None => {
                    let (what, next) = match step {
                        Revert => ("the database could not be reverted", "revert"),
                        _ => ("the new slot could not be stopped", "teardown"),
                    };
                    let reason = format!("{cause}; traffic is back on \"{}\", but {what}: {why}", self.from);
                    stuck(reason, self.rerun(next))
                }
            },
            (_, event) => return Err(illegal(&state.phase, &event)),
        })
    }

    fn after_drain(&self, state: &State, cause: &Cause, keep_database: bool, now: Time) -> State {
        let retry = Retry { failed: 0, at: now };
        let step = if state.migrated && !keep_database && self.revert {
            RollbackStep::Revert
        } else if self.decommission && state.provisioned {
            RollbackStep::Teardown
        } else {
            return State { phase: Phase::RolledBack(cause.clone()), ..state.clone() };
        };
        let phase = Phase::RollingBack { cause: cause.clone(), step, retry, keep_database };
        State { phase, ..state.clone() }
    }

    fn provisioning(&self, state: State, now: Time) -> State {
        let phase = if self.provision {
            Phase::Provisioning
        } else {
            Phase::Probing { until: now.after(self.probe_deadline) }
        };
        State { phase, provisioned: true, ..state }
    }

    fn decommissioning(&self, now: Time) -> Phase {
        match self.decommission {
            true => Phase::Decommissioning(Retry { failed: 0, at: now }),
            false => Phase::Completed { note: None },
        }
    }

    /// Ends a deployment that has not moved traffic. What it has not started it does not stop: the slot may hold a version
    /// that is kept warm.
    fn give_up(&self, state: State, cause: Cause, now: Time) -> State {
        let step = if state.migrated && self.revert {
            TeardownStep::Revert
        } else if state.provisioned && self.decommission {
            TeardownStep::Teardown
        } else {
            return State { phase: Phase::Failed(cause), ..state };
        };
        let phase = Phase::TearingDown { cause, step, retry: Retry { failed: 0, at: now } };
        State { phase, ..state }
    }

    fn status(&self) -> String {
        format!("cutover status {}", quoted(&self.group))
    }

    /// What to type for a command that could not be run. Its own words stay in the configuration: they may hold secrets.
    fn rerun(&self, command: &str) -> String {
        format!("cutover run {} {command}", quoted(&self.group))
    }

    fn stuck(&self, reason: String, next: String) -> Phase {
        Phase::Stuck { reason, next }
    }
}

fn roll_back(state: State, cause: Cause, now: Time, keep_database: bool) -> State {
    let retry = Retry { failed: 0, at: now };
    State { phase: Phase::RollingBack { cause, step: RollbackStep::Verify, retry, keep_database }, ..state }
}

fn illegal(phase: &Phase, event: &Event) -> Illegal {
    let event = match event {
        Event::Abort(_) => "an abort".to_owned(),
        Event::Rollback(_) => "a rollback".to_owned(),
        Event::Supersede => "another deployment".to_owned(),
        event => format!("the event {event:?}"),
    };
    Illegal { phase: phase.name(), event }
}
