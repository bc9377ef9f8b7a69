//! Tables of transitions.

use std::time::Duration;

use super::*;
use crate::counters::Counters;
use crate::verdict::evidence::Evidence;

mod asked;
mod blame;
mod stepwise;
mod walks;

fn plan() -> Plan {
    Plan {
        group: "shop".to_owned(),
        from: "blue".to_owned(),
        to: "green".to_owned(),
        migrate: true,
        provision: true,
        revert: true,
        decommission: true,
        probe_deadline: Duration::from_secs(60),
        steps: Steps::default(),
        soak: Duration::from_secs(60),
        extend: Duration::ZERO,
        accept_inconclusive: false,
        drain: Duration::from_secs(30),
        warm: Duration::from_secs(3600),
        served: Default::default(),
        excluded: Vec::new(),
        probes_only: false,
        with: Vec::new(),
        known: Default::default(),
    }
}

fn why() -> String {
    "because".to_owned()
}

fn read() -> Event {
    read_with_old(1)
}

/// The route was read while `healthy` servers of the old slot were healthy.
fn read_with_old(healthy: usize) -> Event {
    let old = Old { servers: 2, healthy, served: Counters::default() };
    let mark = Mark { expected: Revision::new("generation 7"), ..Mark::default() };
    Event::RouteRead(Box::new(Marks {
        edges: [("nginx".to_owned(), mark)].into(),
        old,
        known: Evidence::default(),
        since: None,
    }))
}

fn switched() -> Event {
    Event::Switched { revisions: [("nginx".to_owned(), Revision::new("generation 8"))].into() }
}

fn moved() -> Event {
    moved_to("red", true)
}

fn moved_to(active: &str, settled: bool) -> Event {
    let text = format!("\"{active}\" is active, generation 9");
    Event::RouteMoved(Moved { text, active: active.to_owned(), settled })
}

/// Takes a deployment through events, one minute apart, and lists the phases.
fn walk(plan: &Plan, events: impl IntoIterator<Item = Event>) -> (Vec<&'static str>, State) {
    let mut now = Time(0);
    let mut state = plan.begin(now);
    let mut phases = vec![state.phase.name()];
    for event in events {
        now = now.after(Duration::from_secs(60));
        state = plan.step(&state, event, now).unwrap();
        if phases.last() != Some(&state.phase.name()) {
            phases.push(state.phase.name());
        }
    }
    (phases, state)
}

fn until_switched() -> Vec<Event> {
    vec![Event::Migrated, Event::Provisioned, Event::Ready, Event::SmokePassed, read(), switched()]
}

fn with(more: impl IntoIterator<Item = Event>) -> Vec<Event> {
    until_switched().into_iter().chain(more).collect()
}

/// The old slot had no healthy server before the switch.
fn first_release(more: impl IntoIterator<Item = Event>) -> Vec<Event> {
    let read = |event| if matches!(event, Event::RouteRead(_)) { read_with_old(0) } else { event };
    with(more).into_iter().map(read).collect()
}

fn back(more: impl IntoIterator<Item = Event>) -> Vec<Event> {
    with([Event::SoakBad(why()), Event::SwitchedBack].into_iter().chain(more))
}

#[test]
fn walks() {
    use Event as E;
    let tear_down = [E::Reverted, E::TornDown];
    for (name, events, phases) in [
        (
            "all good",
            with([E::SoakPassed, E::Confirmed, E::Drained, E::WarmOver, E::Decommissioned]),
            "migrating provisioning probing smoking switching soaking confirming draining warm decommissioning completed",
        ),
        ("the migration fails: nothing was started", vec![E::MigrateFailed(why())], "migrating failed"),
        (
            "never ready",
            [E::Migrated, E::Provisioned, E::NotReady(why())].into_iter().chain(tear_down.clone()).collect(),
            "migrating provisioning probing tearing_down failed",
        ),
        (
            "smoke",
            [E::Migrated, E::Provisioned, E::Ready, E::SmokeFailed(why())]
                .into_iter()
                .chain(tear_down.clone())
                .collect(),
            "migrating provisioning probing smoking tearing_down failed",
        ),
        (
            "a preview holds the new slot: it is stopped before the database is reverted",
            vec![
                E::Migrated,
                E::Provisioned,
                E::Ready,
                E::SmokeFailed(why()),
                E::Held(why()),
                E::TornDown,
                E::Reverted,
            ],
            "migrating provisioning probing smoking tearing_down failed",
        ),
        (
            "an abort waits for the migration",
            [E::Abort(why()), E::Migrated, E::Reverted].into_iter().collect(),
            "migrating tearing_down failed",
        ),
        (
            "somebody else switches first",
            until_switched()[..4].iter().cloned().chain([moved()]).chain(tear_down).collect(),
            "migrating provisioning probing smoking switching tearing_down failed",
        ),
        (
            "somebody else moves the traffic to the slot that would be started: nothing is undone under it",
            vec![E::Migrated, moved()],
            "migrating provisioning failed",
        ),
        (
            "a migration that applied nothing is not reverted",
            vec![E::MigratedNothing, E::ProvisionFailed(why()), E::TornDown],
            "migrating provisioning tearing_down failed",
        ),
        (
            "bad in the soak",
            back([E::Drained, E::Reverted, E::TornDown, E::OldGood]),
            "migrating provisioning probing smoking switching soaking rolling_back rolled_back",
        ),
        (
            "what the new slot still holds at the drain's deadline is cut off before the database is reverted",
            back([E::DrainTimedOut(why()), E::TornDown, E::Reverted, E::OldGood]),
            "migrating provisioning probing smoking switching soaking rolling_back rolled_back",
        ),
        (
            "both sick",
            with([E::SoakBad(why())].into_iter().chain(vec![E::OldSick(why()); 8])),
            "migrating provisioning probing smoking switching soaking rolling_back stuck",
        ),
        (
            "the old version was worse",
            with([E::SoakBad(why()), E::OldWorse(why())]),
            "migrating provisioning probing smoking switching soaking rolling_back stuck",
        ),
        (
            "too few requests, and the old version was worse",
            with([
                E::SoakInconclusive(why()),
                E::OldWorse(why()),
                E::Confirmed,
                E::Drained,
                E::WarmOver,
                E::Decommissioned,
            ]),
            "migrating provisioning probing smoking switching soaking rolling_back confirming draining warm \
             decommissioning completed",
        ),
        (
            "bad, and nothing to go back to: nobody waits for it",
            first_release([E::SoakBad(why()), E::OldSick(why())]),
            "migrating provisioning probing smoking switching soaking rolling_back stuck",
        ),
        (
            "too few requests for a first release: it stays",
            first_release([
                E::SoakInconclusive(why()),
                E::Confirmed,
                E::Drained,
                E::WarmOver,
                E::Decommissioned,
            ]),
            "migrating provisioning probing smoking switching soaking confirming draining warm decommissioning completed",
        ),
        (
            "what was broken before the switch has come back meanwhile",
            first_release([
                E::SoakBad(why()),
                E::SwitchedBack,
                E::Drained,
                E::Reverted,
                E::TornDown,
                E::OldGood,
            ]),
            "migrating provisioning probing smoking switching soaking rolling_back rolled_back",
        ),
        (
            "the slot that would be started has traffic before anything was done",
            vec![moved()],
            "migrating failed",
        ),
        (
            "somebody else switches in the soak",
            with([moved()]),
            "migrating provisioning probing smoking switching soaking stuck",
        ),
        (
            "too few requests",
            with([
                E::SoakInconclusive(why()),
                E::SwitchedBack,
                E::Drained,
                E::Reverted,
                E::TornDown,
                E::OldGood,
            ]),
            "migrating provisioning probing smoking switching soaking rolling_back rolled_back",
        ),
        (
            "a rollback out of the warm window leaves the database",
            with([
                E::SoakPassed,
                E::Confirmed,
                E::Drained,
                E::Rollback(why()),
                E::SwitchedBack,
                E::Drained,
                E::TornDown,
                E::OldGood,
            ]),
            "migrating provisioning probing smoking switching soaking confirming draining warm rolling_back rolled_back",
        ),
        (
            "bad while the old slot drains",
            with([
                E::SoakPassed,
                E::Confirmed,
                E::SoakBad(why()),
                E::SwitchedBack,
                E::Drained,
                E::Reverted,
                E::TornDown,
                E::OldGood,
            ]),
            "migrating provisioning probing smoking switching soaking confirming draining rolling_back rolled_back",
        ),
        (
            "another deployment ends the warm window",
            with([E::SoakPassed, E::Confirmed, E::Drained, E::Supersede]),
            "migrating provisioning probing smoking switching soaking confirming draining warm completed",
        ),
        (
            "the old slot got traffic before it was stopped",
            with([E::SoakPassed, E::Confirmed, E::Drained, E::WarmOver, moved()]),
            "migrating provisioning probing smoking switching soaking confirming draining warm decommissioning completed",
        ),
    ] {
        assert_eq!(walk(&plan(), events).0.join(" "), phases, "{name}");
    }
}

#[test]
fn steps_without_a_command_are_left_out() {
    let bare = Plan {
        migrate: false,
        provision: false,
        revert: false,
        decommission: false,
        warm: Duration::ZERO,
        ..plan()
    };
    let good =
        until_switched().into_iter().skip(2).chain([Event::SoakPassed, Event::Confirmed, Event::Drained]);
    assert_eq!(
        walk(&bare, good).0.join(" "),
        "probing smoking switching soaking confirming draining completed"
    );
    assert_eq!(walk(&bare, [Event::NotReady(why())]).0.join(" "), "probing failed");
}

#[test]
fn a_failed_migration_is_not_reverted_and_nothing_is_stopped() {
    let (_, state) = walk(&plan(), [Event::MigrateFailed(why())]);
    assert!(matches!(state.phase, Phase::Failed(Cause { kind: CauseKind::Migrate, .. })));
    assert!(!state.migrated && !state.provisioned);
}

#[test]
fn an_inconclusive_soak_may_be_accepted() {
    let accepting = Plan { accept_inconclusive: true, ..plan() };
    let (_, state) = walk(&accepting, with([Event::SoakInconclusive(why())]));
    assert_eq!(state.phase.name(), "confirming");
}

#[test]
fn the_outcome_of_an_inconclusive_soak_says_so() {
    let events = [Event::SoakInconclusive(why()), Event::SwitchedBack, Event::Drained];
    let rest = [Event::Reverted, Event::TornDown, Event::OldGood];
    let (_, state) = walk(&plan(), with(events.into_iter().chain(rest)));
    let Phase::RolledBack { cause, .. } = state.phase else { panic!("{state:?}") };
    assert_eq!(cause.to_string(), "soak inconclusive: because");
}

#[test]
fn a_soak_does_not_pass_before_its_time() {
    let plan = plan();
    let (_, state) = walk(&plan, until_switched());
    let Phase::Soaking { until: Some(until) } = state.phase else { panic!("{state:?}") };
    assert!(plan.step(&state, Event::SoakPassed, Time(until.0 - 1)).is_err());
    assert!(plan.step(&state, Event::SoakPassed, until).is_ok());
}

#[test]
fn what_is_stuck_says_what_to_type() {
    for (events, next) in [
        (
            with([Event::SoakBad(why())].into_iter().chain(vec![Event::OldSick(why()); 8])),
            "cutover switch shop --to blue",
        ),
        (
            first_release([Event::SoakBad(why()), Event::OldSick(why())]),
            "cutover deploy shop --version VERSION",
        ),
        (with([Event::SoakBad(why()), Event::OldWorse(why())]), "cutover deploy shop --version VERSION"),
        (first_release([Event::SoakBlind(why()), Event::OldSick(why())]), "cutover switch shop --to green"),
        (with([Event::TrialHeld(why())]), "cutover switch shop --to blue"),
        (with([moved()]), "cutover run shop revert"),
        (with([moved_to("blue", true)]), "cutover run shop revert"),
        (with([moved_to("blue", false)]), "cutover switch shop --to blue; then: cutover run shop revert"),
        (with([moved_to("green", true)]), "cutover switch shop --to blue"),
        (with([moved_to("green", false)]), "cutover switch shop --to green"),
        (
            vec![Event::MigratedNothing, Event::Provisioned, Event::NotReady(why()), moved_to("blue", false)],
            "cutover switch shop --to blue; then: cutover run shop teardown",
        ),
        (back([Event::Drained, Event::Reverted, moved_to("red", true)]), "cutover run shop teardown"),
        (
            back([Event::Drained].into_iter().chain(vec![Event::StepFailed(why()); 6])),
            "cutover run shop revert",
        ),
        (
            back([Event::Drained, Event::Reverted].into_iter().chain(vec![Event::StepFailed(why()); 6])),
            "cutover run shop teardown",
        ),
        (
            with([Event::SoakBad(why())].into_iter().chain(vec![Event::StepFailed(why()); 8])),
            "cutover switch shop --to blue",
        ),
    ] {
        let (_, state) = walk(&plan(), events);
        let Phase::Stuck { next: found, .. } = state.phase else { panic!("{state:?}") };
        assert_eq!(found, next);
    }
}

#[test]
fn a_hiccup_of_the_old_slot_does_not_end_a_rollback() {
    let events = [Event::SoakBad(why())].into_iter().chain(vec![Event::OldSick(why()); 7]);
    let (_, state) = walk(&plan(), with(events.chain([Event::SwitchedBack])));
    assert!(matches!(state.phase, Phase::RollingBack { step: RollbackStep::Drain { .. }, .. }), "{state:?}");
}

#[test]
fn traffic_that_the_edge_takes_back_is_followed_by_the_rest_of_the_rollback() {
    let taken = || Event::TakenBack(TakenBackBy::Guard);
    for (name, events, keeps_database) in [
        ("before the switch was confirmed", until_switched()[..5].to_vec(), false),
        ("in the soak", until_switched(), false),
        ("before it was confirmed", with([Event::SoakPassed]), false),
        ("while the old slot drains", with([Event::SoakPassed, Event::Confirmed]), false),
        ("in the warm window", with([Event::SoakPassed, Event::Confirmed, Event::Drained]), true),
    ] {
        let mut rest = vec![taken(), Event::SwitchedBack, Event::Drained];
        rest.extend((!keeps_database).then_some(Event::Reverted));
        rest.extend([Event::TornDown, Event::OldGood]);
        let (_, state) = walk(&plan(), events.into_iter().chain(rest));
        let Phase::RolledBack { cause, but: None } = &state.phase else { panic!("{name}: {state:?}") };
        assert_eq!(cause.text, "the guard of the last change moved the traffic back to slot \"blue\"");
        assert_eq!((cause.kind, state.migrated), (CauseKind::TakenBack, keeps_database), "{name}");
    }
}

#[test]
fn a_clock_that_was_set_back_prolongs_nothing() {
    let plan = plan();
    let (_, state) = walk(&plan, until_switched());
    let resumed = plan.resume(state.clone(), Time(5));
    assert!(matches!(resumed.phase, Phase::Soaking { until: Some(Time(60_005)) }), "{resumed:?}");
    assert_eq!(resumed.marks.unwrap().since, Some(Time(5)), "the watch does not wait for the clock");
    assert_eq!(plan.resume(state.clone(), Time(u64::MAX)), state, "nor does one that was set forward");
}

#[test]
fn phases_have_the_names_they_are_listed_with() {
    let (phases, _) = walk(
        &plan(),
        with([Event::SoakPassed, Event::Confirmed, Event::Drained, Event::WarmOver, Event::Decommissioned]),
    );
    assert_eq!(phases, Phase::NAMES[..11]);
}

#[test]
fn a_switch_that_cannot_be_confirmed_is_taken_back() {
    let events = with([Event::SoakPassed].into_iter().chain(vec![Event::StepFailed(why()); 8]));
    let (phases, state) = walk(&plan(), events);
    assert_eq!(phases.last(), Some(&"rolling_back"));
    let cause = state.phase.cause().map(|cause| cause.text.as_str());
    assert_eq!(cause, Some("the switch could not be confirmed: because"));
}
