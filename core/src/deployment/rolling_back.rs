//! The way back: what follows from each event after the switch was taken back.

use super::{Cause, CauseKind, Event, Illegal, Phase, Plan, Retry, RollbackStep, State, Time};

/// Tries of a step that moves the route and probes. The pauses add up to about 35 seconds; the probes take time of their own.
pub(super) const MOST_SWITCHES: u32 = 8;
/// Tries of a step that runs a command. The pauses add up to about 15 seconds.
pub(super) const MOST_COMMANDS: u32 = 6;

impl Plan {
    pub(super) fn rolling_back(
        &self,
        state: &State,
        (cause, step, retry, keep_database): (&Cause, RollbackStep, Retry, bool),
        event: Event,
        now: Time,
    ) -> Result<State, Illegal> {
        use RollbackStep::{Drain, Revert, SwitchBack, Teardown, Watch};
        let at = |step, retry| State {
            phase: Phase::RollingBack { cause: cause.clone(), step, retry, keep_database },
            ..state.clone()
        };
        let stuck = |reason, next| State { phase: Phase::stuck(reason, next), ..state.clone() };
        let again = self.switch_to(&self.from);
        Ok(match (step, event) {
            // The edge was faster. It does not probe, so what it moved the traffic to is verified now.
            (SwitchBack, Event::TakenBack(by)) if cause.kind != CauseKind::TakenBack => {
                let taken = self.taken_back(by);
                let blames_version = cause.blames_version || taken.blames_version;
                let cause = Cause { text: format!("{cause}; {taken}"), blames_version, ..taken };
                let phase =
                    Phase::RollingBack { cause, step, retry: Retry { at: now, ..retry }, keep_database };
                State { phase, ..state.clone() }
            }
            (SwitchBack, Event::OldSick(_)) if state.has_nothing_before() => {
                let (from, to, stays) = (&self.from, &self.to, self.stays(state));
                let reason = format!(
                    "{cause}; slot \"{from}\" was not healthy before the switch either, so there is nothing to go \
                     back to, and {stays}"
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
            // There was too little evidence for a verdict, and the old version was worse, so the new version stays.
            (SwitchBack, Event::OldWorse(_)) if cause.kind == CauseKind::Inconclusive => {
                self.next_step(state.clone(), now)
            }
            (SwitchBack, Event::OldWorse(why)) => {
                let (from, stays) = (&self.from, self.stays(state));
                let reason = format!(
                    "{cause}; but slot \"{from}\" {why}; so {stays}; fix the release and deploy it again"
                );
                stuck(reason, self.deploy_again())
            }
            (SwitchBack, Event::OldSick(why)) => match retry.next(now, MOST_SWITCHES) {
                Some(retry) => at(SwitchBack, retry),
                None if cause.kind == CauseKind::TakenBack => {
                    let reason = format!(
                        "{cause}; but slot \"{}\" is not healthy, so nothing is stopped or reverted; if \"{}\" is \
                         healthy, give it the traffic: {why}",
                        self.from, self.to
                    );
                    stuck(reason, self.switch_to(&self.to))
                }
                None => {
                    let (from, stays) = (&self.from, self.stays(state));
                    let reason = format!("{cause}; slot \"{from}\" is not healthy either, so {stays}: {why}");
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
                    let reason = format!("{cause}; the way back is not confirmed: {why}");
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
            // Nor does a new version stay up while an operator is waited for.
            (Revert, Event::Held(_) | Event::MustAsk { .. }) if self.decommission && state.provisioned => {
                at(Teardown, Retry { failed: 0, at: now })
            }
            (Revert, Event::MustAsk { why, next }) => {
                let from = &self.from;
                let reason = format!(
                    "{cause}; traffic is back on \"{from}\", and the database is not reverted: {why}"
                );
                stuck(reason, next)
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
            // The new slot is the only one that can still serve.
            (Drain { .. } | Revert | Teardown, Event::OldSick(why)) => {
                let (from, to) = (&self.from, &self.to);
                let reason = format!(
                    "{cause}; traffic is back on \"{from}\", but that slot has died, so \"{to}\" is neither reverted nor \
                     stopped; if \"{to}\" is the better one, give it the traffic: {why}"
                );
                stuck(reason, self.switch_to(to))
            }
            (Watch { .. }, Event::OldGood) => self.rolled_back(state, cause, None),
            (Watch { .. }, Event::OldBad(why)) => self.rolled_back(state, cause, Some(why)),
            (_, event) => return Err(Illegal::of(&state.phase, &event)),
        })
    }

    fn after_drain(&self, state: &State, cause: &Cause, keep_database: bool, now: Time) -> State {
        let retry = Retry { failed: 0, at: now };
        let step = if self.reverts(state, keep_database) {
            RollbackStep::Revert
        } else if self.decommission && state.provisioned {
            RollbackStep::Teardown
        } else if self.soak.is_zero() {
            return self.rolled_back(state, cause, None);
        } else {
            RollbackStep::Watch { until: now.after(self.soak) }
        };
        let phase = Phase::RollingBack { cause: cause.clone(), step, retry, keep_database };
        State { phase, ..state.clone() }
    }

    /// Where the traffic is if it does not go back.
    fn stays(&self, state: &State) -> String {
        match self.steps.get(state.step) {
            Some(step) => format!("slot \"{}\" keeps {} of the traffic", self.to, step.share),
            None => format!("traffic stays on \"{}\"", self.to),
        }
    }

    fn rolled_back(&self, state: &State, cause: &Cause, but: Option<String>) -> State {
        State { phase: Phase::RolledBack { cause: cause.clone(), but }, ..state.clone() }
    }

    /// Begins the rollback. It keeps the database if users have written with the migration for too long.
    pub(super) fn roll_back(&self, state: State, cause: Cause, now: Time) -> State {
        let keep_database = self.keeps_database(&state, now);
        let (step, retry) = (RollbackStep::SwitchBack, Retry { failed: 0, at: now });
        State { phase: Phase::RollingBack { cause, step, retry, keep_database }, paused: None, ..state }
    }
}
