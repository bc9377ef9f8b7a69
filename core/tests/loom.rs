//! What processes do at once to the words that they share: loom runs each model in every order that the atomics allow,
//! stale values included.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --package cutover-core --test loom`; without that nothing is here.
#![cfg(test)]
#![cfg(loom)]

use std::sync::Arc;

use cutover_core::fraction::Fraction;
use cutover_core::guard::{Figures, Guard, Moment, Window};
use cutover_core::route::{Destination, Reading, Route, RouteWord};
use cutover_core::shard::{RequestEnd, Shard, Sum};
use cutover_core::slot::SlotId;
use cutover_core::state_file::Head;
use cutover_core::trial::{Deadline, Stage, Terms, Trial, Watch};
use loom::thread::{self, JoinHandle};

fn id(id: u8) -> SlotId {
    SlotId::new(id).unwrap()
}

fn armed(slot: u8) -> Destination {
    Destination { armed: true, ..id(slot).into() }
}

/// Terms that share no word with those of another slot.
fn terms(slot: u8) -> Terms {
    let guard = Guard {
        min_requests: u32::from(slot),
        max_error_ratio: Fraction::from_parts(slot.into()),
        max_slow_ratio: Fraction::from_parts(slot.into()),
        slow_ms: slot.into(),
        window_ms: 100 + u32::from(slot),
    };
    Terms { slot: id(slot), fallback: id(slot - 1), guard: Some(guard), rescue: slot.is_multiple_of(2) }
}

fn at(ms: u64) -> Deadline {
    Deadline { monotonic_ms: ms, wall_ms: 1_000 + ms }
}

/// The lease that goes with [`terms`] here.
fn lease(slot: u8) -> Deadline {
    at(u64::from(slot) * 100)
}

fn is_whole(trial: &Trial, slot: u8) -> bool {
    (trial.terms, trial.lease) == (terms(slot), Some(lease(slot)))
}

/// Moves the route, whatever it says by then, as an operator does who expects no generation.
fn switch(head: &Head, mut seen: Reading, to: Destination) -> Route {
    loop {
        let from = match seen {
            Reading::Set(route) => Some(route.active()),
            _ => None,
        };
        match head.route.switch(seen, from, to) {
            Ok(route) => return route,
            Err(other) => seen = other,
        }
    }
}

fn arm(head: &Head, route: Route) -> bool {
    let slot = route.active().get();
    head.trial.arm(&head.route, route, &terms(slot), Some(lease(slot)), 1)
}

/// A group whose route leads to this slot, on trial.
fn on_trial(slot: u8) -> (Arc<Head>, Route) {
    let head = Arc::new(Head::default());
    let route = switch(&head, Reading::Unset, armed(slot));
    assert!(arm(&head, route));
    (head, route)
}

fn spawn<S: 'static, T: 'static>(shared: &Arc<S>, run: impl FnOnce(&S) -> T + 'static) -> JoinHandle<T> {
    let shared = Arc::clone(shared);
    thread::spawn(move || run(&shared))
}

#[test]
fn of_two_operators_one_wins_and_nobody_reads_the_other() {
    loom::model(|| {
        let word = Arc::new(RouteWord::default());
        let old = word.switch(Reading::Unset, None, id(1).into()).unwrap();
        let seen = Reading::Set(old);
        let [one, other] =
            [2, 3].map(|slot| spawn(&word, move |word| word.switch(seen, Some(id(1)), id(slot).into())));
        let reader = spawn(&word, move |word| {
            [(); 2].map(|()| {
                let Reading::Set(route) = word.load() else { unreachable!("it was set") };
                if route != old {
                    assert_eq!(
                        word.before(route),
                        Some(id(1)),
                        "whoever sees the route knows the one before"
                    );
                }
                route
            })
        });
        let (won, told) = match (one.join().unwrap(), other.join().unwrap()) {
            (Ok(won), Err(told)) | (Err(told), Ok(won)) => (won, told),
            both => unreachable!("{both:?}"),
        };
        assert_eq!((won.generation, told), (2, Reading::Set(won)));
        let read = reader.join().unwrap();
        assert!(read.iter().all(|route| [old, won].contains(route)), "{read:?}");
        assert!(read.is_sorted_by_key(|route| route.generation), "{read:?}");
    });
}

#[test]
fn a_late_operator_spoils_no_hint() {
    loom::model(|| {
        let word = Arc::new(RouteWord::default());
        let first = word.switch(Reading::Unset, None, id(1).into()).unwrap();
        let late = spawn(&word, move |word| word.switch(Reading::Set(first), Some(id(1)), id(4).into()));
        let twice = spawn(&word, move |word| {
            let second = word.switch(Reading::Set(first), Some(id(1)), id(2).into()).ok()?;
            let third = word.switch(Reading::Set(second), Some(id(2)), id(3).into()).unwrap();
            assert_eq!(word.before(third), Some(id(2)));
            Some(third)
        });
        let (late, third) = (late.join().unwrap(), twice.join().unwrap());
        assert_eq!(late.is_ok(), third.is_none());
        if let Some(third) = third {
            assert_eq!(word.before(third), Some(id(2)));
        }
    });
}

#[test]
fn a_trial_is_read_whole_or_not_at_all() {
    loom::model(|| {
        let (head, first) = on_trial(2);
        let operator = spawn(&head, move |head| {
            let second = head.route.switch(Reading::Set(first), Some(id(2)), armed(3)).unwrap();
            assert!(arm(head, second));
        });
        let reader = spawn(&head, |head| {
            let Reading::Set(route) = head.route.load() else { unreachable!("it was set") };
            let slot = route.active().get();
            if let Some(trial) = head.trial.read(route) {
                assert!(trial.stage == Stage::Armed && is_whole(&trial, slot), "{trial:?}");
            }
            assert!(head.trial.terms_of(route.generation).is_none_or(|read| read == terms(slot)));
        });
        operator.join().unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn a_short_question_is_answered_right_or_not_at_all() {
    loom::model(|| {
        let (head, first) = on_trial(2);
        let operator = spawn(&head, move |head| {
            let second = head.route.switch(Reading::Set(first), Some(id(2)), armed(3)).unwrap();
            assert!(arm(head, second));
        });
        let reader = spawn(&head, |head| {
            let Reading::Set(route) = head.route.load() else { unreachable!("it was set") };
            let slot = route.active();
            let watch = head.trial.watch(route.generation);
            let whole = |watch: Watch| (watch.slot, watch.window_ms) == (slot, 100 + u32::from(slot.get()));
            assert!(watch.is_none_or(whole), "{watch:?}");
            let rescue = head.trial.rescue(route.generation);
            assert!(rescue.is_none_or(|rescue| (rescue.from, rescue.to) == (id(2), id(1))), "{rescue:?}");
            assert!(
                !head.trial.is_quiet(route.generation, lease(slot.get()).monotonic_ms),
                "its lease is over"
            );
        });
        operator.join().unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn exactly_one_ends_a_trial() {
    loom::model(|| {
        let (head, route) = on_trial(2);
        let ends = [Stage::Confirmed, Stage::Expired, Stage::Tripped].map(|stage| {
            let ended = spawn(&head, move |head| {
                let seen = head.trial.read(route).unwrap();
                match stage {
                    Stage::Confirmed => head.trial.confirm(&seen),
                    _ => head.trial.end(&seen, stage),
                }
            });
            (stage, ended)
        });
        let won: Vec<Stage> =
            ends.into_iter().filter_map(|(stage, ended)| ended.join().unwrap().then_some(stage)).collect();
        assert_eq!(won, [head.trial.read(route).unwrap().stage]);
    });
}

#[test]
fn a_renewed_lease_never_ends_by_its_old_deadline() {
    loom::model(|| {
        let (head, route) = on_trial(2);
        let now = lease(2).monotonic_ms;
        let renewed = spawn(&head, move |head| {
            let seen = head.trial.read(route).unwrap();
            head.trial.renew(&head.route, route, &seen, at(now + 500))
        });
        let expired = spawn(&head, move |head| {
            let seen = head.trial.read(route).unwrap();
            seen.lease.unwrap().left(now) == 0 && head.trial.end(&seen, Stage::Expired)
        });
        let (renewed, expired) = (renewed.join().unwrap(), expired.join().unwrap());
        let trial = head.trial.read(route).unwrap();
        assert!(!(renewed && expired), "{trial:?}");
        if renewed {
            assert_eq!((trial.stage, trial.lease), (Stage::Armed, Some(at(now + 500))));
        }
    });
}

#[test]
fn a_late_renewal_does_not_shorten_one_that_was_granted() {
    loom::model(|| {
        let (head, route) = on_trial(2);
        let seen = head.trial.read(route).unwrap();
        // Was asked for a while ago: its deadline is before that of the lease.
        let late = spawn(&head, move |head| head.trial.renew(&head.route, route, &seen, at(150)));
        let granted = spawn(&head, move |head| {
            let granted = head.trial.renew(&head.route, route, &seen, at(500));
            assert!(!granted || head.trial.read(route).unwrap().lease == Some(at(500)));
            granted
        });
        let (late, granted) = (late.join().unwrap(), granted.join().unwrap());
        assert!(late ^ granted, "the other one is told, and reads again");
        let trial = head.trial.read(route).unwrap();
        assert!(trial.stage == Stage::Armed && trial.lease.unwrap().monotonic_ms >= 200, "{trial:?}");
        assert!(!granted || trial.lease == Some(at(500)), "{trial:?}");
    });
}

/// Moves the route on and arms that. What somebody late did to it would stay: it is enough to look at the end.
fn switch_again(head: &Head, first: Route) -> Route {
    let second = switch(head, Reading::Set(first), armed(3));
    assert!(arm(head, second));
    second
}

#[test]
fn a_late_arm_leaves_a_newer_trial_alone() {
    loom::model(|| {
        let head = Arc::new(Head::default());
        let first = switch(&head, Reading::Unset, armed(2));
        let late = spawn(&head, move |head| arm(head, first));
        let operator = spawn(&head, move |head| switch_again(head, first));
        late.join().unwrap();
        let trial = head.trial.read(operator.join().unwrap());
        assert!(trial.is_some_and(|trial| is_whole(&trial, 3)), "{trial:?}");
        assert_eq!(head.trial.read(first), None);
    });
}

#[test]
fn a_late_renewal_leaves_a_newer_trial_alone() {
    loom::model(|| {
        let (head, first) = on_trial(2);
        let seen = head.trial.read(first).unwrap();
        let late = spawn(&head, move |head| head.trial.renew(&head.route, first, &seen, at(9_000)));
        let operator = spawn(&head, move |head| switch_again(head, first));
        late.join().unwrap();
        let trial = head.trial.read(operator.join().unwrap());
        assert!(trial.is_some_and(|trial| is_whole(&trial, 3)), "{trial:?}");
    });
}

#[test]
fn a_change_is_armed_or_taken_back_as_unfinished() {
    loom::model(|| {
        let head = Arc::new(Head::default());
        let first = switch(&head, Reading::Unset, armed(2));
        let operator = spawn(&head, move |head| arm(head, first));
        let worker = spawn(&head, move |head| {
            head.trial.read(first).is_none() && head.trial.give_up(first) && {
                head.route.switch(Reading::Set(first), Some(first.active()), id(1).into()).unwrap();
                true
            }
        });
        let (armed, taken_back) = (operator.join().unwrap(), worker.join().unwrap());
        assert!(armed ^ taken_back, "armed: {armed}, taken back: {taken_back}");
        let trial = head.trial.read(first);
        assert_eq!(trial.is_some_and(|trial| trial.stage == Stage::Armed && is_whole(&trial, 2)), armed);
    });
}

/// What a worker does that finds a trial at its end: `trial::finish` of the module. How often it has moved the route.
fn finish(head: &Head, route: Route, trial: &Trial) -> u32 {
    let back = head.route.switch(Reading::Set(route), Some(route.active()), trial.terms.way_back());
    u32::from(back.is_ok())
}

/// Ends the trial as the guard does, and goes back.
fn trip(head: &Head, route: Route, seen: &Trial) -> u32 {
    if head.trial.end(seen, Stage::Tripped) { finish(head, route, seen) } else { 0 }
}

#[test]
fn the_route_goes_back_once_whoever_finishes_it() {
    loom::model(|| {
        let (head, route) = on_trial(2);
        let seen = head.trial.read(route).unwrap();
        let guard = spawn(&head, move |head| trip(head, route, &seen));
        let another = spawn(&head, move |head| {
            let trial = head.trial.read(route).filter(|trial| trial.stage.goes_back());
            trial.map_or(0, |trial| finish(head, route, &trial))
        });
        let operator = spawn(&head, move |head| {
            // Its hint would be the same as that of the others.
            head.route.switch(Reading::Set(route), None, id(3).into()).is_ok()
        });
        let back = guard.join().unwrap() + another.join().unwrap();
        let switched = u32::from(operator.join().unwrap());
        assert_eq!(back + switched, 1, "all of them leave the same route");
        let to = if switched == 1 { id(3) } else { seen.terms.fallback };
        assert_eq!(
            head.route.load(),
            Reading::Set(Route { to: to.into(), generation: route.generation + 1 })
        );
    });
}

#[test]
fn the_route_never_goes_back_over_an_operator() {
    loom::model(|| {
        let (head, route) = on_trial(2);
        let seen = head.trial.read(route).unwrap();
        let guard = spawn(&head, move |head| trip(head, route, &seen));
        let operator = spawn(&head, move |head| switch(head, Reading::Set(route), id(3).into()));
        let (back, switched) = (guard.join().unwrap(), operator.join().unwrap());
        assert_eq!(switched.generation, route.generation + back + 1, "one generation for each who won");
        assert_eq!(head.route.load(), Reading::Set(switched), "the operator was the last");
    });
}

/// When the first part of a window of 800 ms is used anew.
const AGAIN: u64 = 800;

#[test]
fn a_window_never_shows_more_than_was_counted() {
    loom::model(|| {
        let window = Arc::new(Window::default());
        let moment = |now| Moment::new(1, now, 800);
        window.count(moment(0), true, true);
        let writer = spawn(&window, move |window| {
            window.count(moment(AGAIN), true, true);
        });
        let figures = move |window: &Window, now| {
            let mut sum = Figures::default();
            window.add_to(&mut sum, moment(now));
            sum
        };
        let reader = spawn(&window, move |window| (figures(window, 0), figures(window, AGAIN)));
        writer.join().unwrap();
        let (old, new) = reader.join().unwrap();
        assert!(old.requests <= 1 && old.errors <= 1 && old.slow <= 1, "{old:?}");
        assert!(new.requests <= 1 && new.errors <= new.requests && new.slow <= new.requests, "{new:?}");
        assert_eq!(figures(&window, AGAIN), Figures { requests: 1, errors: 1, slow: 1 }, "nothing is lost");
    });
}

#[test]
fn a_shard_never_shows_more_than_was_counted() {
    let mut builder = loom::model::Builder::new();
    // A sum reads some 500 words: each is a place where another process may come between.
    builder.max_branches = 2_000;
    builder.check(|| {
        let shard: Arc<Shard> = Arc::default();
        let request = |shard: &Shard, status| {
            shard.hold();
            shard.started();
            shard.finished(RequestEnd::Status(status));
        };
        request(&shard, 200);
        let writer = spawn(&shard, move |shard| {
            request(shard, 404);
            shard.transferred(10, 20);
            shard.first_byte(5);
        });
        let reader = spawn(&shard, |shard| {
            let mut sum = Sum::default();
            shard.add_to(&mut sum, true);
            sum
        });
        writer.join().unwrap();
        let Sum { counters, bytes, first_byte, .. } = reader.join().unwrap();
        assert!((1..=2).contains(&counters.requests) && counters.in_flight <= 1, "{counters:?}");
        assert!(counters.responses.success == 1 && counters.responses.client_error <= 1, "{counters:?}");
        assert!([0, 10].contains(&bytes.sent) && [0, 20].contains(&bytes.received), "{bytes:?}");
        assert!(first_byte.count() <= 1 && [0, 5].contains(&first_byte.sum_us), "{first_byte:?}");
    });
}
