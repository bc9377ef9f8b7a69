//! Deployments in steps.

use super::*;
use crate::fraction::Percent;

/// 1 % for a minute, 10 % until it is promoted, then all.
pub(super) fn steps() -> Steps {
    let step = |parts, hold| Step { share: Percent::from_parts(parts).unwrap(), hold };
    Steps::new(vec![step(100, Hold::For(Duration::from_secs(60))), step(1_000, Hold::Manual)]).unwrap()
}

fn in_steps() -> Plan {
    Plan { steps: steps(), ..plan() }
}

fn promoted() -> Event {
    Event::Promote("promoted by a test".to_owned())
}

fn switched_to(generation: u32) -> Event {
    Event::Switched {
        revisions: [("nginx".to_owned(), Revision::new(format!("generation {generation}")))].into(),
    }
}

#[test]
fn each_step_expects_the_revision_of_the_one_before() {
    let (_, first) = walk(&in_steps(), until_switched());
    assert_eq!((first.step, &first.phase), (0, &Phase::Soaking { until: Some(Time(7 * 60_000)) }));
    let (_, second) = walk(&in_steps(), with([Event::SoakPassed]));
    assert_eq!((second.step, &second.phase), (1, &Phase::Switching(Store::Storing)));
    let mark = &second.marks.as_ref().unwrap().edges["nginx"];
    assert_eq!((mark.expected.as_str(), &mark.switched), ("generation 8", &None));
    let (_, manual) = walk(&in_steps(), with([Event::SoakPassed, switched_to(9)]));
    assert_eq!((manual.step, &manual.phase), (1, &Phase::Soaking { until: None }));
    let (phases, last) = walk(
        &in_steps(),
        with([Event::SoakPassed, switched_to(9), promoted(), switched_to(10), Event::SoakPassed]),
    );
    assert_eq!((last.step, last.phase.name()), (2, "confirming"));
    assert_eq!(
        phases[4..].join(" "),
        "switching soaking switching soaking switching soaking confirming",
        "one switch for each step"
    );
}

#[test]
fn a_manual_step_waits_for_its_promotion() {
    let plan = in_steps();
    let (_, state) = walk(&plan, with([Event::SoakPassed, switched_to(9)]));
    assert!(plan.step(&state, Event::SoakPassed, Time(u64::MAX)).is_err());
    assert!(plan.step(&state, Event::SoakInconclusive(why()), Time(u64::MAX)).is_err());
    assert_eq!(plan.resume(state.clone(), Time(5)).phase, state.phase);
}

#[test]
fn whatever_goes_wrong_in_a_step_takes_all_of_the_traffic_back() {
    for (name, events) in [
        ("bad in the first step", with([Event::SoakBad(why())])),
        ("bad while it waits", with([Event::SoakPassed, switched_to(9), Event::SoakBad(why())])),
        ("the next switch is refused", with([Event::SoakPassed, Event::NotSwitched(why())])),
        ("the next switch is uncertain", with([Event::SoakPassed, Event::SwitchUncertain(why())])),
        ("an abort", with([Event::Abort(why())])),
        ("an abort in the next switch", with([Event::SoakPassed, Event::Abort(why()), switched_to(9)])),
        (
            "an abort, and the next switch is refused",
            with([Event::SoakPassed, Event::Abort(why()), Event::NotSwitched(why())]),
        ),
        ("a rollback in the next switch", with([Event::SoakPassed, Event::Rollback(why()), switched_to(9)])),
        ("the guard", with([Event::SoakPassed, Event::TakenBack(TakenBackBy::Guard)])),
    ] {
        let (_, state) = walk(&in_steps(), events);
        let is_back = matches!(state.phase, Phase::RollingBack { step: RollbackStep::SwitchBack, .. });
        assert!(is_back, "{name}: {state:?}");
    }
}

#[test]
fn a_route_that_somebody_else_moved_between_two_steps_is_left_alone() {
    let (_, state) = walk(&in_steps(), with([Event::SoakPassed, moved()]));
    assert_eq!(state.phase.name(), "stuck", "{state:?}");
}

/// A version that fixes a broken one goes on, although its step proves nothing.
#[test]
fn a_step_that_is_better_than_a_worse_old_version_is_followed_by_the_next() {
    let events = [Event::SoakInconclusive(why()), Event::OldWorse(why())];
    let (_, state) = walk(&in_steps(), with(events));
    assert_eq!((state.step, &state.phase), (1, &Phase::Switching(Store::Storing)));
}

/// After days in a step, a revert would lose what users have written.
#[test]
fn a_migration_that_users_have_used_for_long_is_kept() {
    let plan = in_steps();
    let (_, waiting) = walk(&plan, with([Event::SoakPassed, switched_to(9)]));
    let day = Time(24 * 3_600_000);
    let taken = Event::TakenBack(TakenBackBy::Guard);
    for event in [Event::SoakBad(why()), taken, Event::Abort(why()), Event::Rollback(why())] {
        for (now, kept) in [(Time(600_000), false), (day, true)] {
            let state = plan.step(&waiting, event.clone(), now).unwrap();
            let Phase::RollingBack { keep_database, .. } = state.phase else { panic!("{state:?}") };
            assert_eq!(keep_database, kept, "{event:?} at {now:?}");
        }
    }
}

/// Most users would stay on a slot that does not answer.
#[test]
fn a_first_release_takes_all_the_traffic_at_once() {
    let (_, state) = walk(&in_steps(), first_release([]));
    assert_eq!((state.step, &state.phase), (2, &Phase::Soaking { until: Some(Time(7 * 60_000)) }));
    let events = [Event::Migrated, Event::Provisioned, Event::Ready, Event::SmokePassed, read_with_old(0)];
    let (_, state) = walk(&in_steps(), events.into_iter().chain([Event::NotSwitched(why())]));
    assert_eq!(state.phase.name(), "tearing_down", "no traffic has moved");
}
