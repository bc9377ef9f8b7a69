//! Random walks over all transitions: what must hold for every one of them.

use proptest::prelude::*;

use super::*;

/// What a driver may answer to an effect: some of it good, some bad.
fn answers(effect: &Effect) -> Vec<Event> {
    let failed = || Event::StepFailed(why());
    match effect {
        Effect::Migrate => {
            vec![Event::Migrated, Event::MigratedNothing, Event::MigrateFailed(why()), moved()]
        }
        Effect::Provision => vec![Event::Provisioned, Event::ProvisionFailed(why()), moved()],
        Effect::Probe { .. } => vec![Event::Ready, Event::NotReady(why())],
        Effect::Smoke => vec![Event::SmokePassed, Event::SmokeFailed(why())],
        Effect::ReadRoute => vec![read(), read_with_old(0), Event::NotSwitched(why()), moved()],
        Effect::Switch => vec![
            Event::Switched { generation: 8 },
            Event::NotSwitched(why()),
            Event::SwitchUncertain(why()),
            moved(),
        ],
        Effect::Soak { .. } => vec![
            Event::SoakPassed,
            Event::SoakBad(why()),
            Event::SoakInconclusive(why()),
            Event::SoakBlind(why()),
            moved(),
        ],
        Effect::DrainOld { .. } | Effect::DrainNew { .. } => {
            vec![Event::Drained, Event::DrainTimedOut(why()), moved()]
        }
        Effect::KeepWarm { .. } => vec![Event::WarmOver, moved()],
        Effect::Decommission { .. } => vec![Event::Decommissioned, failed(), moved()],
        Effect::VerifyOld { .. } => {
            vec![
                Event::OldHealthy,
                Event::OldSick(why()),
                Event::OldWorse(why()),
                Event::SwitchedBack,
                failed(),
                moved(),
            ]
        }
        Effect::SwitchBack { .. } => {
            vec![Event::SwitchedBack, Event::OldSick(why()), Event::OldWorse(why()), failed(), moved()]
        }
        Effect::Revert { .. } => vec![Event::Reverted, Event::Held(why()), failed(), moved()],
        Effect::Teardown { .. } => vec![Event::TornDown, failed(), moved()],
    }
}

fn operators() -> Vec<Event> {
    vec![Event::Abort(why()), Event::Rollback(why()), Event::Supersede]
}

fn every_event() -> Vec<Event> {
    let effects = [
        Effect::Migrate,
        Effect::Provision,
        Effect::Probe { until: Time(0) },
        Effect::Smoke,
        Effect::ReadRoute,
        Effect::Switch,
        Effect::Soak { until: Time(0), generation: 8 },
        Effect::DrainOld { until: Time(0), generation: 8 },
        Effect::KeepWarm { until: Time(0), generation: 8 },
        Effect::Decommission { at: Time(0) },
        Effect::VerifyOld { at: Time(0) },
        Effect::SwitchBack { at: Time(0) },
        Effect::Revert { at: Time(0) },
        Effect::Teardown { at: Time(0) },
    ];
    effects.iter().flat_map(answers).chain(operators()).collect()
}

/// What must be true of every walk, checked as it goes.
#[derive(Default)]
struct Witness {
    smoked: bool,
    migrated: bool,
    switched: bool,
    verified: bool,
    drained: bool,
}

impl Witness {
    fn event(&mut self, event: &Event) {
        match event {
            Event::SmokePassed => self.smoked = true,
            Event::Migrated => self.migrated = true,
            Event::Switched { .. } | Event::SwitchUncertain(_) => self.switched = true,
            Event::OldHealthy => self.verified = true,
            Event::OldSick(_) | Event::OldWorse(_) | Event::StepFailed(_) => self.verified = false,
            Event::Drained | Event::DrainTimedOut(_) => self.drained = true,
            Event::SwitchedBack => self.drained = false,
            _ => {}
        }
    }

    fn effect(&self, effect: Option<&Effect>, state: &State) -> Result<(), TestCaseError> {
        match effect {
            Some(Effect::Switch) => prop_assert!(self.smoked, "a switch before the smoke test"),
            Some(Effect::SwitchBack { .. }) => prop_assert!(self.verified, "back to an unverified slot"),
            Some(Effect::Revert { .. }) => {
                prop_assert!(self.migrated, "a revert of what was not migrated");
                prop_assert!(!self.switched || self.drained, "a revert before the drain");
            }
            Some(Effect::Decommission { .. }) => prop_assert!(self.drained && self.switched),
            Some(Effect::Teardown { .. }) => prop_assert!(state.provisioned),
            _ => {}
        }
        match &state.phase {
            Phase::Failed(_) => prop_assert!(!self.switched, "failed after a switch"),
            Phase::RolledBack(_) => prop_assert!(self.switched),
            Phase::Stuck { reason, next } => prop_assert!(!reason.is_empty() && !next.is_empty()),
            _ => {}
        }
        Ok(())
    }
}

fn plans() -> impl Strategy<Value = Plan> {
    (any::<[bool; 6]>()).prop_map(|[migrate, provision, revert, decommission, accept, warm]| Plan {
        migrate,
        provision,
        revert,
        decommission,
        accept_inconclusive: accept,
        warm: if warm { Duration::from_secs(3600) } else { Duration::ZERO },
        ..plan()
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
        let (mut state, _) = plan.begin(now);
        let mut witness = Witness::default();
        let mut choices = choices.into_iter();
        while let Some(effect) = state.effect() {
            let Some((choice, operator)) = choices.next() else {
                prop_assert!(false, "still {} after 200 events", state.phase.name());
                return Ok(());
            };
            now = now.after(Duration::from_secs(60));
            let likely = if operator == 0 { operators() } else { answers(&effect) };
            let event = likely[usize::from(choice) % likely.len()].clone();
            match plan.step(&state, event.clone(), now) {
                Ok((next, effect)) => {
                    witness.event(&event);
                    let json = serde_json::to_string(&next).unwrap();
                    prop_assert_eq!(&serde_json::from_str::<State>(&json).unwrap(), &next);
                    witness.effect(effect.as_ref(), &next)?;
                    state = next;
                }
                Err(_) => prop_assert!(operator == 0, "{event:?} answers {effect:?} in {state:?}"),
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
        let (mut state, _) = plan.begin(now);
        let mut witness = Witness::default();
        for choice in choices {
            now = now.after(Duration::from_secs(60));
            let event = events[usize::from(choice) % events.len()].clone();
            let was_final = state.phase.is_final();
            match plan.step(&state, event.clone(), now) {
                Ok((next, effect)) => {
                    prop_assert!(!was_final, "{event:?} after the end");
                    witness.event(&event);
                    witness.effect(effect.as_ref(), &next)?;
                    state = next;
                }
                Err(illegal) => prop_assert_eq!(illegal.phase, state.phase.name()),
            }
        }
    }
}
