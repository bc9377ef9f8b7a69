use std::time::Duration;

use proptest::prelude::*;

use super::scripted::{Second, pass, reading};
use crate::verdict::evidence::Evidence;
use crate::verdict::fold::Fold;
use crate::verdict::{Baseline, EdgeReading, Limits, Names, Reading, Sample, Verdict, Watch};

const PATIENCE: Duration = Duration::from_secs(2);

fn seconds() -> impl Strategy<Value = Vec<(Second, u8)>> {
    let second = (0u64..50, 0u64..5, 0u64..5, 0u64..5, 0u64..5, 0u64..5, 1u64..3000).prop_map(
        |(ok, redirect, not_found, error, hang, give_up, ms)| Second {
            ok,
            redirect,
            not_found,
            error,
            hang,
            give_up,
            upgrade: ms % 3,
            ms,
        },
    );
    proptest::collection::vec((second, any::<u8>()), 1..80)
}

fn watch() -> Watch {
    let names = Names { new: "green".to_owned(), old: "blue".to_owned() };
    Watch::new(Limits::default(), names, Baseline::default())
}

proptest! {
    /// nginx is restarted or not read now and then. What is folded is never more than what happened, and the classes are
    /// exact when nothing was lost.
    #[test]
    fn nothing_is_counted_twice(walk in seconds()) {
        let mut fold = Fold::default();
        let (mut now, mut truth, mut sum) = (Sample::default(), Sample::default(), Evidence::default());
        let mut lost = false;
        fold.observe(Duration::ZERO, &now, PATIENCE);
        for (at, (second, event)) in (1..).zip(walk) {
            pass(&mut now, second);
            pass(&mut truth, second);
            match event {
                // Not read.
                0..40 => continue,
                // Restarted: all that was not read is lost, and all that hung is gone.
                40..60 => {
                    now = Sample::default();
                    lost = true;
                }
                _ => sum.add(&fold.observe(Duration::from_secs(at), &now, PATIENCE)),
            }
        }
        sum.add(&fold.observe(Duration::from_secs(1000), &now, PATIENCE));
        let whole = truth.counters;
        prop_assert!(sum.given <= whole.requests);
        prop_assert!(sum.responses.total() <= whole.responses.total());
        prop_assert!(sum.answers().of <= whole.requests, "{} of {}", sum.answers().of, whole.requests);
        prop_assert!(sum.bad <= whole.responses.server_error + whole.in_flight);
        prop_assert!(sum.first_byte.count() <= truth.first_byte.count());
        if !lost {
            prop_assert_eq!(sum.responses, whole.responses);
            prop_assert_eq!(sum.given, whole.requests);
        }
    }

    /// All edges together are the sum of them, in whatever order they are read.
    #[test]
    fn edges_add_up(walk in seconds()) {
        let (mut one, mut two) = (watch(), watch());
        let (mut left, mut right, mut both) = (Sample::default(), Sample::default(), Sample::default());
        for (at, (second, event)) in (0..).zip(walk) {
            let edge = |name: &str, sample: &Sample| EdgeReading { edge: name.to_owned(), new: Some(sample.clone()), old: None };
            let mut edges = vec![edge("left", &left), edge("right", &right)];
            if event % 2 == 0 {
                edges.reverse();
            }
            one.observe(&Reading { at: Duration::from_secs(at), split: false, edges });
            let edges = vec![edge("both", &both)];
            two.observe(&Reading { at: Duration::from_secs(at), split: false, edges });
            let slot = if event % 3 == 0 { &mut left } else { &mut right };
            pass(slot, second);
            pass(&mut both, second);
        }
        prop_assert_eq!(one.seen().responses, two.seen().responses);
        prop_assert_eq!(&one.seen().first_byte, &two.seen().first_byte);
        // Requests that wait on one edge may hide behind fast ones of the other in the sum, not the other way round.
        prop_assert!(one.seen().unanswered >= two.seen().unanswered);
    }

    /// Whatever is read: no panic, good only with enough, bad only with enough bad ones, and bad for ever.
    #[test]
    fn whatever_is_read(walk in proptest::collection::vec((0u64.., 0u64.., 0u64.., 0u64..100, any::<bool>()), 0..40)) {
        let mut watch = watch();
        let mut was_bad = false;
        for (success, errors, requests, at, split) in walk {
            let mut new = Sample::default();
            new.counters.requests = requests >> 9;
            new.counters.responses.success = success >> 9;
            new.counters.responses.server_error = errors >> 9;
            new.upgraded = at;
            new.first_byte.insert(at as usize * 3, success >> 9);
            let old = new.clone();
            watch.observe(&reading(at as f64, split, Some(&new), &old));
            prop_assert!(!was_bad || watch.now().is_some());
            was_bad = watch.now().is_some();
        }
        match watch.end() {
            Verdict::Good(_) => prop_assert!(watch.seen().answers().of >= 50),
            Verdict::Bad(reason) => prop_assert!(!reason.to_string().is_empty()),
            Verdict::Inconclusive(reason) => prop_assert!(!was_bad && !reason.to_string().is_empty()),
        }
    }

    /// Good answers alone are never bad, and fast enough ones neither.
    #[test]
    fn without_anything_bad_nothing_is_bad(walk in proptest::collection::vec((0u64..1000, 1u64..40), 1..60)) {
        let mut watch = watch();
        let mut new = Sample::default();
        for (at, (ok, ms)) in (0..).zip(walk) {
            watch.observe(&reading(f64::from(at), false, Some(&new), &Sample::default()));
            pass(&mut new, Second { ok, ms, ..Second::default() });
        }
        prop_assert!(!matches!(watch.end(), Verdict::Bad(_)));
    }
}

#[test]
fn a_slot_that_vanishes_and_comes_back_goes_on() {
    let mut watch = watch();
    let mut new = Sample::default();
    for second in 0..30 {
        let seen = (second % 3 == 0).then_some(&new);
        watch.observe(&reading(f64::from(second), false, seen, &Sample::default()));
        pass(&mut new, Second { ok: 10, ..Second::default() });
    }
    watch.observe(&reading(30.0, false, Some(&new), &Sample::default()));
    assert_eq!(watch.seen().answers().of, 300);
}

#[test]
fn two_nginx_that_answer_by_turns_are_not_mixed_up() {
    let mut fold = Fold::default();
    let (mut leaving, mut coming) = (Sample::default(), Sample::default());
    pass(&mut leaving, Second { ok: 1_000_000, error: 50_000, ..Second::default() });
    fold.observe(Duration::ZERO, &leaving, PATIENCE);
    let mut sum = Evidence::default();
    for turn in 1..10 {
        pass(&mut leaving, Second { ok: 1, ..Second::default() });
        sum.add(&fold.observe(Duration::from_secs(turn), &leaving, PATIENCE));
        pass(&mut coming, Second { ok: 10, ..Second::default() });
        sum.add(&fold.observe(Duration::from_secs(turn), &coming, PATIENCE));
    }
    assert_eq!((sum.good, sum.bad), (99, 0));
}

/// A second nginx comes as far as the first one had come before it ended: the difference in errors is no news.
#[test]
fn an_nginx_that_has_ended_is_left_alone() {
    let (mut fold, mut now, mut sum) = (Fold::default(), Sample::default(), Evidence::default());
    fold.observe(Duration::ZERO, &now, PATIENCE);
    for second in 1..=200 {
        pass(&mut now, Second { ok: 10, ..Second::default() });
        sum.add(&fold.observe(Duration::from_secs(second), &now, PATIENCE));
    }
    now = Sample::default();
    for second in 201..=600 {
        pass(&mut now, Second { ok: 6, error: 1, ..Second::default() });
        sum.add(&fold.observe(Duration::from_secs(second), &now, PATIENCE));
    }
    assert_eq!((sum.given, sum.bad, sum.server_errors.internal), (2_000 + 400 * 7, 400, 400));
}
