//! The transition function.

use super::phase::Store::{Reading, Storing};
use super::{
    Cause, CauseKind, Event, Illegal, Phase, Plan, Retry, RollbackStep, State, TakenBackBy, TeardownStep,
    Time,
};

/// Tries of a step that moves the route and probes. The pauses add up to about 35 seconds; the probes take time of their own.
const MOST_SWITCHES: u32 = 8;
/// Tries of a step that runs a command. The pauses add up to about 15 seconds.
const MOST_COMMANDS: u32 = 6;

impl Plan {
    /// The first state of a deployment.
    pub fn begin(&self, now: Time) -> State {
        let fresh =
            State { phase: Phase::Migrating, migrated: false, provisioned: false, abort: None, marks: None };
        if self.migrate { fresh } else { self.provisioning(fresh, now) }
    }

    /// The state with which a restarted daemon continues. If the wall clock was set back, no deadline is further away than it
    /// was at first. The probe deadline starts again, because the slot was not probed in between.
    pub fn resume(&self, mut state: State, now: Time) -> State {
        let clamp = |time: &mut Time, most| *time = (*time).min(now.after(most));
        match &mut state.phase {
            Phase::Probing { until } => *until = now.after(self.probe_deadline),
            Phase::Soaking { until } => clamp(until, self.soak),
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
        let stay = state.clone();
        let to = |phase| Ok(State { phase, ..stay.clone() });
        match (&state.phase, event) {
            // An interrupted migration or switch would leave an unknown state, so the abort waits.
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
                Ok(self.give_up(stay, Cause::new(Kind::RouteMoved, moved.text), now))
            }
            (Phase::Switching(Storing), Event::Switched { revisions }) => {
                let marks = stay.marks.map(|marks| marks.after(revisions));
                let switched = State { marks, ..stay };
                Ok(match switched.abort.clone() {
                    Some(why) => roll_back(switched, Cause::new(Kind::Operator, why), now, false),
                    None => State { phase: Phase::Soaking { until: now.after(self.soak) }, ..switched },
                })
            }
            (Phase::Switching(Storing), Event::SwitchUncertain(why)) => {
                Ok(roll_back(stay, Cause::new(Kind::Switch, why), now, false))
            }

            (Phase::Soaking { until }, Event::SoakPassed) if now >= *until => to(confirming(now)),
            (Phase::Soaking { until }, Event::SoakInconclusive(why)) if now >= *until => {
                if self.accept_inconclusive || state.has_nothing_before() {
                    to(confirming(now))
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
                Phase::Soaking { .. }
                | Phase::Confirming(_)
                | Phase::Draining { .. }
                | Phase::RollingBack { .. },
                Event::RouteMoved(moved),
            ) => {
                let next = self.after_move(state, &moved);
                to(stuck(moved.text, next))
            }
            // The traffic is already on the old slot. The rest of the rollback follows.
            (
                Phase::Switching(Storing)
                | Phase::Soaking { .. }
                | Phase::Confirming(_)
                | Phase::Draining { .. },
                Event::TakenBack(by),
            ) => Ok(roll_back(stay, self.taken_back(by), now, false)),
            (Phase::Warm { .. }, Event::TakenBack(by)) => Ok(roll_back(stay, self.taken_back(by), now, true)),
            (Phase::Confirming(_), Event::Confirmed) => to(Phase::Draining { until: now.after(self.drain) }),
            (Phase::Confirming(retry), Event::StepFailed(why)) => match retry.next(now, MOST_SWITCHES) {
                Some(retry) => to(Phase::Confirming(retry)),
                None => {
                    let cause = Cause::new(Kind::Switch, format!("the switch could not be confirmed: {why}"));
                    Ok(roll_back(stay, cause, now, false))
                }
            },
            // The edge asks nobody: to move the traffic now would only exchange one failing slot for the other.
            (Phase::Soaking { .. } | Phase::Confirming(_), Event::TrialHeld(why)) => {
                to(stuck(why, self.switch_to(&self.from)))
            }
            (
                Phase::Soaking { .. } | Phase::Confirming(_) | Phase::Draining { .. },
                Event::Abort(why) | Event::Rollback(why),
            ) => Ok(roll_back(stay, Cause::new(Kind::Operator, why), now, false)),
            (Phase::Draining { .. }, Event::Drained | Event::DrainTimedOut(_)) => {
                if self.warm.is_zero() {
                    to(self.decommissioning(now))
                } else {
                    to(Phase::Warm { until: now.after(self.warm) })
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
            // A preview request holds the slot. The slot is stopped first, then the database is reverted.
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
                let next = self.after_move(state, &moved);
                to(stuck(reason, next))
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
                        stuck(reason, self.rerun(next))
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
        use RollbackStep::{Drain, Revert, SwitchBack, Teardown};
        let at = |step, retry| State {
            phase: Phase::RollingBack { cause: cause.clone(), step, retry, keep_database },
            ..state.clone()
        };
        let stuck = |reason, next| State { phase: stuck(reason, next), ..state.clone() };
        let again = self.switch_to(&self.from);
        Ok(match (step, event) {
            // The edge was faster. It does not probe, so what it moved the traffic to is verified now.
            (SwitchBack, Event::TakenBack(by)) if cause.kind != CauseKind::TakenBack => {
                let text = format!("{cause}; {}", self.taken_back(by));
                let cause = Cause::new(CauseKind::TakenBack, text);
                let phase =
                    Phase::RollingBack { cause, step, retry: Retry { at: now, ..retry }, keep_database };
                State { phase, ..state.clone() }
            }
            (SwitchBack, Event::OldSick(_)) if state.has_nothing_before() => {
                let (from, to) = (&self.from, &self.to);
                let reason = format!(
                    "{cause}; slot \"{from}\" was not healthy before the switch either, so there is nothing to go \
                     back to, and traffic stays on \"{to}\""
                );
                match cause.kind.is_verdict() {
                    true => {
                        stuck(format!("{reason}; fix the release and deploy it again"), self.deploy_again())
                    }
                    // Nothing speaks against the release. The command flushes the switch to disk.
                    false => stuck(
                        format!("{reason}; if the new version is good, confirm the switch"),
                        self.switch_to(to),
                    ),
                }
            }
            // There were too few requests for a verdict, and the old version was worse, so the new version stays.
            (SwitchBack, Event::OldWorse(_)) if cause.kind == CauseKind::Inconclusive => {
                State { phase: confirming(now), ..state.clone() }
            }
            (SwitchBack, Event::OldWorse(why)) => {
                let (from, to) = (&self.from, &self.to);
                let reason = format!(
                    "{cause}; but slot \"{from}\" {why}; so traffic stays on \"{to}\"; fix the release and deploy it again"
                );
                stuck(reason, self.deploy_again())
            }
            (SwitchBack, Event::OldSick(why)) => match retry.next(now, MOST_SWITCHES) {
                Some(retry) => at(SwitchBack, retry),
                None if cause.kind == CauseKind::TakenBack => {
                    let reason = format!(
                        "{cause}; but slot \"{}\" is not healthy either, so nothing is stopped or reverted: {why}",
                        self.from
                    );
                    stuck(reason, self.deploy_again())
                }
                None => {
                    let (from, to) = (&self.from, &self.to);
                    let reason = format!(
                        "{cause}; slot \"{from}\" is not healthy either, so traffic stays on \"{to}\": {why}"
                    );
                    match state.marks.as_ref().is_some_and(|marks| marks.old.healthy == 0) {
                        true => stuck(
                            format!(
                                "{reason}; before the switch it answered users although it failed its probe, \
                                 so if it still runs, force the switch back and ignore the probe"
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
            (SwitchBack, Event::StepFailed(why)) => match retry.next(now, MOST_SWITCHES) {
                Some(retry) => at(SwitchBack, retry),
                None => {
                    let reason = format!("{cause}; traffic could not be moved back: {why}");
                    stuck(reason, again)
                }
            },
            (SwitchBack, Event::SwitchedBack) => {
                at(Drain { until: now.after(self.drain) }, Retry { failed: 0, at: now })
            }
            (Drain { .. }, Event::Drained) => self.after_drain(state, cause, keep_database, now),
            // The database must not change under unfinished requests. Stopping the slot cuts them off first.
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

    /// Ends a deployment that has not moved traffic. It does not stop a slot that it has not started, because the slot may
    /// hold a warm version.
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

    fn taken_back(&self, by: TakenBackBy) -> Cause {
        let text = format!("the {by} of the last change moved the traffic back to slot \"{}\"", self.from);
        Cause::new(CauseKind::TakenBack, text)
    }
}

fn confirming(now: Time) -> Phase {
    Phase::Confirming(Retry { failed: 0, at: now })
}

fn stuck(reason: String, next: String) -> Phase {
    Phase::Stuck { reason, next }
}

fn roll_back(state: State, cause: Cause, now: Time, keep_database: bool) -> State {
    let retry = Retry { failed: 0, at: now };
    State {
        phase: Phase::RollingBack { cause, step: RollbackStep::SwitchBack, retry, keep_database },
        ..state
    }
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
