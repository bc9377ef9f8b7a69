//! Random walks over all transitions: what must hold for every one of them.

use proptest::prelude::*;

use super::*;

/// What the work of a phase may come to: some of it good, some bad.
fn answers(state: &State) -> Vec<Event> {
    let phase = &state.phase;
    let failed = || Event::StepFailed(why());
    let asks = || Event::MustAsk { why: why(), next: why() };
    let revert = || vec![Event::Reverted, Event::Held(why()), asks(), failed(), moved()];
    let teardown = || vec![Event::TornDown, failed(), moved()];
    let taken = || Event::TakenBack(TakenBackBy::Lease);
    match phase {
        Phase::Migrating => {
            let partly = Event::MigratedPartly(why());
            vec![Event::Migrated, Event::MigratedNothing, Event::MigrateFailed(why()), partly, moved()]
        }
        Phase::Provisioning => vec![Event::Provisioned, Event::ProvisionFailed(why()), moved()],
        Phase::Probing { .. } => vec![Event::Ready, Event::NotReady(why())],
        Phase::Smoking => vec![Event::SmokePassed, Event::SmokeFailed(why())],
        Phase::Switching(Store::Reading) => {
            vec![read(), read_with_old(0), Event::NotSwitched(why()), moved()]
        }
        Phase::Switching(Store::Storing) => {
            vec![switched(), Event::NotSwitched(why()), Event::SwitchUncertain(why()), taken(), moved()]
        }
        // It is judged, but its end waits for an operator.
        Phase::Soaking { until } if until.is_none() || state.paused.is_some() => vec![
            Event::SoakBad(why()),
            Event::SoakBlind(why()),
            Event::TrialHeld(why()),
            Event::Promote(why()),
            taken(),
            moved(),
        ],
        Phase::Soaking { .. } => vec![
            Event::SoakPassed,
            Event::SoakBad(why()),
            Event::SoakInconclusive(why()),
            Event::SoakBlind(why()),
            Event::TrialHeld(why()),
            taken(),
            moved(),
        ],
        Phase::Confirming(_) => {
            vec![Event::Confirmed, failed(), Event::TrialHeld(why()), taken(), moved()]
        }
        Phase::Draining { .. } => {
            vec![Event::Drained, Event::DrainTimedOut(why()), Event::SoakBad(why()), taken(), moved()]
        }
        Phase::Warm { .. } => vec![Event::WarmOver, Event::SoakBad(why()), taken(), moved()],
        Phase::Decommissioning(_) => vec![Event::Decommissioned, failed(), moved()],
        Phase::TearingDown { step: TeardownStep::Revert, .. } => revert(),
        Phase::TearingDown { step: TeardownStep::Teardown, .. } => teardown(),
        Phase::RollingBack { step, .. } => match step {
            RollbackStep::SwitchBack => {
                let is_known = phase.cause().is_some_and(|cause| cause.kind == CauseKind::TakenBack);
                vec![
                    Event::SwitchedBack,
                    Event::OldSick(why()),
                    Event::OldWorse(why()),
                    failed(),
                    if is_known { failed() } else { taken() },
                    moved(),
                ]
            }
            RollbackStep::Drain { .. } => vec![Event::Drained, Event::DrainTimedOut(why()), moved()],
            RollbackStep::Revert => revert(),
            RollbackStep::Teardown => teardown(),
            RollbackStep::Watch { .. } => vec![Event::OldGood, Event::OldBad(why()), moved()],
        },
        Phase::Completed { .. } | Phase::Failed(_) | Phase::RolledBack { .. } | Phase::Stuck { .. } => {
            Vec::new()
        }
    }
}

fn operators() -> Vec<Event> {
    vec![
        Event::Abort(why()),
        Event::Rollback(why()),
        Event::Supersede,
        Event::TakeOver,
        Event::Pause(why()),
        Event::Resume(why()),
        Event::Promote(why()),
    ]
}

fn companions() -> Vec<Event> {
    vec![Event::CompanionBack(Cause::new(CauseKind::Companion, why())), Event::CompanionStays(why())]
}

fn every_event() -> Vec<Event> {
    let cause = || Cause::new(CauseKind::Soak, why());
    let until = Time(0);
    let retry = Retry::default();
    let rolling = |step| Phase::RollingBack { cause: cause(), step, retry, keep_database: false };
    let tearing = |step| Phase::TearingDown { cause: cause(), step, retry };
    let phases = [
        Phase::Migrating,
        Phase::Provisioning,
        Phase::Probing { until },
        Phase::Smoking,
        Phase::Switching(Store::Reading),
        Phase::Switching(Store::Storing),
        Phase::Soaking { until: Some(until) },
        Phase::Confirming(retry),
        Phase::Draining { until },
        Phase::Warm { until },
        Phase::Decommissioning(retry),
        rolling(RollbackStep::SwitchBack),
        rolling(RollbackStep::Watch { until }),
        tearing(TeardownStep::Revert),
        tearing(TeardownStep::Teardown),
    ];
    let states = phases.into_iter().map(State::new);
    states.flat_map(|state| answers(&state)).chain(operators()).chain(companions()).collect()
}

/// What must be true of every walk, checked as it goes.
#[derive(Default)]
struct Witness {
    smoked: bool,
    migrated: bool,
    switched: bool,
    drained: bool,
}

impl Witness {
    fn event(&mut self, event: &Event) {
        match event {
            Event::SmokePassed => self.smoked = true,
            Event::Migrated | Event::MigratedPartly(_) => self.migrated = true,
            Event::Switched { .. } | Event::SwitchUncertain(_) | Event::TakenBack(_) => self.switched = true,
            Event::Drained | Event::DrainTimedOut(_) => self.drained = true,
            Event::SwitchedBack => self.drained = false,
            _ => {}
        }
    }

    fn state(&self, plan: &Plan, state: &State) -> Result<(), TestCaseError> {
        let reverts = || {
            prop_assert!(self.migrated, "a revert of what was not migrated");
            prop_assert!(!self.switched || self.drained, "a revert before the drain");
            Ok(())
        };
        match &state.phase {
            Phase::Switching(_) => prop_assert!(self.smoked, "a switch before the smoke test"),
            Phase::TearingDown { step: TeardownStep::Revert, .. }
            | Phase::RollingBack { step: RollbackStep::Revert, .. } => reverts()?,
            Phase::TearingDown { step: TeardownStep::Teardown, .. }
            | Phase::RollingBack { step: RollbackStep::Teardown, .. } => prop_assert!(state.provisioned),
            Phase::Decommissioning(_) => prop_assert!(self.drained && self.switched),
            Phase::Confirming(_) => prop_assert_eq!(state.step, plan.steps.last(), "confirmed in a step"),
            Phase::Failed(_) => prop_assert!(!self.switched, "failed after a switch"),
            Phase::RolledBack { .. } => prop_assert!(self.switched),
            Phase::Stuck { reason, next, settled } => {
                prop_assert!(!reason.is_empty() && !next.is_empty() && settled.is_none());
            }
            _ => {}
        }
        Ok(())
    }
}

fn plans() -> impl Strategy<Value = Plan> {
    (any::<[bool; 8]>()).prop_map(|[migrate, provision, revert, decommission, accept, warm, steps, soak]| {
        Plan {
            migrate,
            provision,
            revert,
            decommission,
            accept_inconclusive: accept,
            warm: if warm { Duration::from_secs(3600) } else { Duration::ZERO },
            steps: if steps { stepwise::steps() } else { Steps::default() },
            soak: if soak { Duration::from_secs(60) } else { Duration::ZERO },
            ..plan()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_walk_keeps_the_rules_and_ends(
        plan in plans(),
        choices in proptest::collection::vec((any::<u16>(), 0u8..20), 200)
    ) {
        let mut now = Time(1);
        let mut state = plan.begin(now);
        let mut witness = Witness::default();
        let mut choices = choices.into_iter();
        while !state.phase.is_final() {
            let Some((choice, operator)) = choices.next() else {
                prop_assert!(false, "still {} after 200 events", state.phase.name());
                return Ok(());
            };
            now = now.after(Duration::from_secs(60));
            let likely = match operator {
                0 => operators().into_iter().chain(companions()).collect(),
                _ => answers(&state),
            };
            let event = likely[usize::from(choice) % likely.len()].clone();
            match plan.step(&state, event.clone(), now) {
                Ok(next) => {
                    witness.event(&event);
                    let json = serde_json::to_string(&next).unwrap();
                    prop_assert_eq!(&serde_json::from_str::<State>(&json).unwrap(), &next);
                    witness.state(&plan, &next)?;
                    state = next;
                }
                Err(_) => prop_assert!(operator == 0, "{event:?} in {state:?}"),
            }
        }
    }

    #[test]
    fn no_event_in_any_state_panics_and_illegal_ones_are_said(
        plan in plans(),
        choices in proptest::collection::vec(any::<u16>(), 0..60)
    ) {
        let events = every_event();
        let mut now = Time(1);
        let mut state = plan.begin(now);
        let mut witness = Witness::default();
        for choice in choices {
            now = now.after(Duration::from_secs(60));
            let event = events[usize::from(choice) % events.len()].clone();
            let was_final = state.phase.is_final();
            match plan.step(&state, event.clone(), now) {
                Ok(next) => {
                    prop_assert!(!was_final, "{event:?} after the end");
                    witness.event(&event);
                    witness.state(&plan, &next)?;
                    state = next;
                }
                Err(illegal) => prop_assert_eq!(illegal.phase, state.phase.name()),
            }
        }
    }
}
