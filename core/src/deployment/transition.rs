//! The transition function.

use std::time::Duration;

use super::phase::Store::{Reading, Storing};
use super::rolling_back::{MOST_COMMANDS, MOST_SWITCHES};
use super::{
    Cause, CauseKind, Event, Illegal, Phase, Plan, Retry, RollbackStep, State, TakenBackBy, TeardownStep,
    Time,
};

impl Plan {
    /// The first state of a deployment.
    pub fn begin(&self, now: Time) -> State {
        let fresh = State::new(Phase::Migrating);
        if self.migrate { fresh } else { self.provisioning(fresh, now) }
    }

    /// The state with which a restarted daemon continues. If the wall clock was set back, no deadline is further away than it
    /// was at first. The probe deadline starts again, because the slot was not probed in between.
    pub fn resume(&self, mut state: State, now: Time) -> State {
        let clamp = |time: &mut Time, most| *time = (*time).min(now.after(most));
        if let Some(since) = state.marks.as_mut().and_then(|marks| marks.since.as_mut()) {
            clamp(since, Duration::ZERO);
        }
        match &mut state.phase {
            Phase::Probing { until } => *until = now.after(self.probe_deadline),
            Phase::Soaking { until: Some(until) } => {
                clamp(until, self.time_of(state.step).unwrap_or(Duration::MAX));
            }
            Phase::RollingBack { step: RollbackStep::Watch { until }, .. } => clamp(until, self.soak),
            Phase::Draining { until } => clamp(until, self.drain),
            Phase::Warm { until } => clamp(until, self.warm),
            Phase::RollingBack { step: RollbackStep::Drain { until }, .. } => clamp(until, self.drain),
            Phase::RollingBack { retry, .. }
            | Phase::TearingDown { retry, .. }
            | Phase::Confirming(retry)
            | Phase::Decommissioning(retry) => retry.clamp(now),
            _ => {}
        }
        state
    }

    /// The state after an event. Fails if the event is not possible in this phase. If the phase stays the same, its work continues.
    pub fn step(&self, state: &State, event: Event, now: Time) -> Result<State, Illegal> {
        use CauseKind as Kind;
        if event.is_asked() {
            return self.ask(state, event, now);
        }
        if let Event::CompanionBack(_) | Event::CompanionStays(_) = event {
            return self.follow(state, event, now);
        }
        let stay = state.clone();
        let to = |phase| Ok(State { phase, ..stay.clone() });
        match (&state.phase, event) {
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
            (Phase::Migrating, Event::MigratedPartly(why)) => {
                Ok(self.give_up(State { migrated: true, ..stay }, Cause::new(Kind::Migrate, why), now))
            }
            (Phase::Provisioning, Event::Provisioned) => {
                to(Phase::Probing { until: now.after(self.probe_deadline) })
            }
            (Phase::Provisioning, Event::ProvisionFailed(why)) => {
                Ok(self.give_up(stay, Cause::new(Kind::Provision, why), now))
            }
            // The new slot has traffic, so neither the slot nor its database is touched.
            (Phase::Migrating | Phase::Provisioning, Event::RouteMoved(moved)) => {
                to(Phase::Failed(Cause::new(Kind::RouteMoved, moved.text)))
            }
            (Phase::Probing { .. }, Event::Ready) => to(Phase::Smoking),
            (Phase::Probing { .. }, Event::NotReady(why)) => {
                Ok(self.give_up(stay, Cause::new(Kind::Probe, why), now))
            }
            (Phase::Smoking, Event::SmokePassed) => to(Phase::Switching(Reading)),
            (Phase::Smoking, Event::SmokeFailed(why)) => {
                Ok(self.give_up(stay, Cause::new(Kind::Smoke, why), now))
            }
            (Phase::Switching(Reading), Event::RouteRead(marks)) => {
                let read = State { phase: Phase::Switching(Storing), marks: Some(*marks), ..stay };
                // Without a version before it, a share would leave the other users without any.
                let step = if read.has_nothing_before() { self.steps.last() } else { 0 };
                Ok(State { step, ..read })
            }
            // The share of an earlier step goes back.
            (Phase::Switching(_), Event::NotSwitched(why)) if state.has_share() => {
                let cause = match stay.abort.clone() {
                    Some(why) => Cause::new(Kind::Operator, why),
                    None => Cause::new(Kind::Switch, why),
                };
                Ok(self.roll_back(stay, cause, now))
            }
            (Phase::Switching(_), Event::RouteMoved(moved)) if state.has_share() => {
                let next = self.after_move(state, &moved);
                to(Phase::stuck(moved.text, next))
            }
            (Phase::Switching(_), Event::NotSwitched(why)) => {
                Ok(self.give_up(stay, Cause::new(Kind::Switch, why), now))
            }
            (Phase::Switching(_), Event::RouteMoved(moved)) => {
                Ok(self.give_up(stay, Cause::new(Kind::RouteMoved, moved.text), now))
            }
            (Phase::Switching(Storing), Event::Switched { revisions }) => {
                let marks = stay.marks.map(|marks| marks.after(revisions, now));
                let switched = State { marks, ..stay };
                Ok(match switched.abort.clone() {
                    Some(why) => self.roll_back(switched, Cause::new(Kind::Operator, why), now),
                    None => self.soaking(switched, now),
                })
            }
            (Phase::Switching(Storing), Event::SwitchUncertain(why)) => {
                Ok(self.roll_back(stay, Cause::new(Kind::Switch, why), now))
            }

            (
                Phase::Soaking { until },
                event @ (Event::SoakPassed
                | Event::SoakInconclusive(_)
                | Event::SoakBad(_)
                | Event::SoakBlind(_)),
            ) => self.after_soak(state, *until, event, now),
            // The old slot is still up, so the verdict counts until it is stopped.
            (Phase::Draining { .. } | Phase::Warm { .. }, Event::SoakBad(why)) => {
                Ok(self.roll_back(stay, Cause::new(Kind::Soak, why), now))
            }
            // The rollback is done. Somebody else has begun something new.
            (
                Phase::RollingBack { cause, step: RollbackStep::Watch { .. }, .. },
                Event::RouteMoved(_) | Event::TakenBack(_),
            ) => to(Phase::RolledBack { cause: cause.clone(), but: None }),
            (
                Phase::Soaking { .. }
                | Phase::Confirming(_)
                | Phase::Draining { .. }
                | Phase::RollingBack { .. },
                Event::RouteMoved(moved),
            ) => {
                let next = self.after_move(state, &moved);
                to(Phase::stuck(moved.text, next))
            }
            // The traffic is already on the old slot. The rest of the rollback follows.
            (
                Phase::Switching(Storing)
                | Phase::Soaking { .. }
                | Phase::Confirming(_)
                | Phase::Draining { .. }
                | Phase::Warm { .. },
                Event::TakenBack(by),
            ) => Ok(self.roll_back(stay, self.taken_back(by), now)),
            (Phase::Confirming(_), Event::Confirmed) => to(Phase::Draining { until: now.after(self.drain) }),
            (Phase::Confirming(retry), Event::StepFailed(why)) => match retry.next(now, MOST_SWITCHES) {
                Some(retry) => to(Phase::Confirming(retry)),
                None => {
                    let cause = Cause::new(Kind::Switch, format!("the switch could not be confirmed: {why}"));
                    Ok(self.roll_back(stay, cause, now))
                }
            },
            // The edge asks nobody: to move the traffic now would only exchange one failing slot for the other.
            (Phase::Soaking { .. } | Phase::Confirming(_), Event::TrialHeld(why)) => {
                to(Phase::stuck(why, self.switch_to(&self.from)))
            }
            (Phase::Draining { .. }, Event::Drained | Event::DrainTimedOut(_)) => {
                if self.warm.is_zero() {
                    to(self.decommissioning(now))
                } else {
                    to(Phase::Warm { until: now.after(self.warm) })
                }
            }

            (Phase::Warm { .. }, Event::WarmOver) => to(self.decommissioning(now)),
            (Phase::Warm { .. } | Phase::Decommissioning(_), Event::RouteMoved(moved)) => {
                let note = format!("{moved}; slot \"{}\" is left running", self.from);
                to(Phase::Completed { note: Some(note) })
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
            // A preview request holds the slot. The slot is stopped first, then the database is reverted.
            // Nor does a new version stay up while an operator is waited for.
            (
                Phase::TearingDown { cause, step: TeardownStep::Revert, .. },
                Event::Held(_) | Event::MustAsk { .. },
            ) if self.decommission && state.provisioned => {
                let retry = Retry { failed: 0, at: now };
                to(Phase::TearingDown { cause: cause.clone(), step: TeardownStep::Teardown, retry })
            }
            (Phase::TearingDown { cause, step: TeardownStep::Revert, .. }, Event::MustAsk { why, next }) => {
                let reason =
                    format!("{cause}; no traffic has moved, and the database is not reverted: {why}");
                to(Phase::stuck(reason, next))
            }
            (Phase::TearingDown { cause, step, .. }, Event::RouteMoved(moved)) => {
                let left = match step {
                    TeardownStep::Revert => "the database is not reverted",
                    TeardownStep::Teardown => "it is left running",
                };
                let reason =
                    format!("{cause}; but slot \"{}\" may have traffic, so {left}: {moved}", self.to);
                let next = self.after_move(state, &moved);
                to(Phase::stuck(reason, next))
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
                        Phase::stuck(reason, self.rerun(next))
                    }
                })
            }

            (Phase::RollingBack { cause, step, retry, keep_database }, event) => {
                self.rolling_back(state, (cause, *step, *retry, *keep_database), event, now)
            }
            (phase, event) => Err(Illegal::of(phase, &event)),
        }
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

    /// Ends a deployment that has not moved traffic. It does not stop a slot that it has not started, because the slot may
    /// hold a warm version.
    pub(super) fn give_up(&self, state: State, cause: Cause, now: Time) -> State {
        let state = State { paused: None, ..state };
        let step = if self.reverts(&state, false) {
            TeardownStep::Revert
        } else if state.provisioned && self.decommission {
            TeardownStep::Teardown
        } else {
            return State { phase: Phase::Failed(cause), ..state };
        };
        let phase = Phase::TearingDown { cause, step, retry: Retry { failed: 0, at: now } };
        State { phase, ..state }
    }

    pub(super) fn taken_back(&self, by: TakenBackBy) -> Cause {
        let text = match by {
            TakenBackBy::Hand => format!(
                "somebody moved the traffic of one edge alone, so all edges go back to slot \"{}\"",
                self.from
            ),
            by => format!("the {by} of the last change moved the traffic back to slot \"{}\"", self.from),
        };
        // A lease ends when nobody watches.
        Cause { blames_version: by == TakenBackBy::Guard, ..Cause::new(CauseKind::TakenBack, text) }
    }
}
