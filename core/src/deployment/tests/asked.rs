//! Requests of operators in each phase.

use super::*;

fn paused() -> Event {
    Event::Pause("a test".to_owned())
}

fn resumed() -> Event {
    Event::Resume("a test".to_owned())
}

fn promoted() -> Event {
    Event::Promote("a test".to_owned())
}

#[test]
fn a_paused_deployment_moves_no_more_traffic_until_it_is_resumed() {
    let plan = plan();
    let early = [Event::Migrated, paused(), Event::Provisioned, Event::Ready, Event::SmokePassed];
    let (_, state) = walk(&plan, early.clone());
    assert_eq!((state.phase.name(), state.paused.as_deref()), ("switching", Some("a test")));
    for go_on in [resumed(), promoted()] {
        let (_, state) = walk(&plan, early.clone().into_iter().chain([go_on, read(), switched()]));
        assert_eq!((state.phase.name(), &state.paused), ("soaking", &None));
    }
    let (_, state) = walk(&plan, with([paused()]));
    assert!(plan.step(&state, Event::SoakPassed, Time(u64::MAX)).is_err(), "it is judged, but not ended");
    assert!(plan.step(&state, Event::SoakInconclusive(why()), Time(u64::MAX)).is_err());
    let (_, bad) = walk(&plan, with([paused(), Event::SoakBad(why())]));
    assert_eq!(bad.phase.name(), "rolling_back");
    let (_, state) = walk(&plan, with([paused(), resumed(), Event::SoakPassed]));
    assert_eq!(state.phase.name(), "confirming");
    let (_, state) = walk(&plan, with([paused(), promoted()]));
    assert_eq!((state.phase.name(), &state.paused), ("confirming", &None));
}

#[test]
fn only_work_that_waits_begins_anew_at_a_pause() {
    let plan = plan();
    for (events, begins) in [
        (vec![], false),
        (vec![Event::Migrated], false),
        (vec![Event::Migrated, Event::Provisioned, Event::Ready], false),
        (until_switched()[..4].to_vec(), true),
        (until_switched(), true),
    ] {
        let (_, before) = walk(&plan, events);
        let after = plan.step(&before, paused(), Time(0)).unwrap();
        assert_eq!(after.is_other_work(&before), begins, "{}", before.phase.name());
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let warm = || with([Event::SoakPassed, Event::Confirmed, Event::Drained]);
    for (events, refused) in [
        (vec![], vec![resumed(), promoted(), Event::Rollback(why()), Event::Supersede]),
        (vec![Event::Pause(why())], vec![paused(), promoted()]),
        (until_switched(), vec![resumed(), Event::Supersede, Event::TakeOver]),
        (with([Event::SoakPassed]), vec![paused(), resumed(), promoted(), Event::Supersede]),
        (warm(), vec![paused(), resumed(), promoted(), Event::Abort(why())]),
        (back([]), vec![paused(), promoted(), Event::Rollback(why()), Event::Abort(why()), Event::Supersede]),
    ] {
        let plan = plan();
        let (_, state) = walk(&plan, events);
        for event in refused {
            let done = plan.step(&state, event.clone(), Time(u64::MAX));
            assert!(done.is_err(), "{event:?} in {}", state.phase.name());
        }
    }
}

/// A command that stops a slot without traffic may hang for half an hour.
#[test]
fn nobody_has_to_wait_for_a_command_that_stops_a_slot() {
    let fails = [Event::Migrated, Event::Provisioned, Event::NotReady(why()), Event::Reverted];
    let decommissioning = with([Event::SoakPassed, Event::Confirmed, Event::Drained, Event::WarmOver]);
    let tearing_down = back([Event::Drained, Event::Reverted]);
    for (events, end, next) in [
        (decommissioning, "completed", "cutover run shop decommission"),
        (tearing_down, "rolled_back", "cutover run shop teardown"),
        (fails.to_vec(), "failed", "cutover run shop teardown"),
    ] {
        for given_up in [true, false] {
            let event = if given_up { Event::Abort(why()) } else { Event::TakeOver };
            let (_, before) = walk(&plan(), events.clone());
            assert!(plan().step(&before, Event::Supersede, Time(0)).is_err(), "a switch ends no command");
            assert!(plan().cleans_up(&before).is_some(), "{before:?}");
            let (_, state) = walk(&plan(), events.clone().into_iter().chain([event]));
            assert_eq!(state.phase.name(), end);
            let said = format!("{:?}", state.phase);
            assert_eq!(said.contains(next), given_up, "{said}");
        }
    }
}

/// Requests that outlive the drain hold the slot, so it is stopped before the database is reverted.
#[test]
fn a_slot_that_is_stopped_for_a_revert_is_waited_for() {
    let held = Event::DrainTimedOut(why());
    let fails = [Event::Migrated, Event::Provisioned, Event::NotReady(why()), Event::Held(why())];
    for events in [back([held]), fails.to_vec()] {
        let (_, state) = walk(&plan(), events);
        assert!(state.migrated && plan().cleans_up(&state).is_none(), "{state:?}");
        for event in [Event::TakeOver, Event::Abort(why())] {
            assert!(plan().step(&state, event.clone(), Time(0)).is_err(), "{event:?} in {state:?}");
        }
    }
}

#[test]
fn the_old_version_is_watched_after_the_way_back() {
    let done = || back([Event::Drained, Event::Reverted, Event::TornDown]);
    let (_, watching) = walk(&plan(), done());
    assert!(matches!(watching.phase, Phase::RollingBack { step: RollbackStep::Watch { .. }, .. }));
    assert!(watching.phase.only_watches() && watching.phase.outcome().is_none());
    for (event, found) in [
        (Event::OldGood, None),
        (Event::OldBad("it fails, too".to_owned()), Some("it fails, too")),
        (Event::Supersede, None),
        (Event::Abort(why()), None),
        (moved(), None),
    ] {
        let (_, state) = walk(&plan(), done().into_iter().chain([event]));
        let Phase::RolledBack { but, .. } = &state.phase else { panic!("{state:?}") };
        assert_eq!(but.as_deref(), found);
    }
    let without = Plan { soak: Duration::ZERO, ..plan() };
    let (_, state) = walk(&without, done());
    assert_eq!(
        state.phase.name(),
        "rolled_back",
        "a group that does not watch does not watch the old slot either"
    );
}

/// A revert that hangs must not keep an operator from moving traffic.
#[test]
fn a_revert_that_hangs_can_be_ended() {
    let fails = [Event::Migrated, Event::Provisioned, Event::NotReady(why())];
    for events in [back([Event::Drained]), fails.to_vec()] {
        let (_, state) = walk(&plan(), events.into_iter().chain([Event::Abort("ended by me".to_owned())]));
        let Phase::Stuck { reason, next, .. } = &state.phase else { panic!("{state:?}") };
        assert!(reason.ends_with("but the revert was ended: ended by me"), "{reason}");
        assert_eq!(next, "cutover run shop revert");
        assert!(state.migrated, "it can be run again");
    }
}

#[test]
fn the_only_healthy_version_is_not_stopped() {
    for before in [vec![], vec![Event::Drained], vec![Event::Drained, Event::Reverted]] {
        let (_, state) =
            walk(&plan(), back(before.into_iter().chain([Event::OldSick("it died".to_owned())])));
        let Phase::Stuck { reason, next, .. } = &state.phase else { panic!("{state:?}") };
        assert!(reason.contains("that slot has died") && reason.ends_with("it died"), "{reason}");
        assert_eq!(next, "cutover switch shop --to green");
    }
}
