//! Signals from outside.

use std::time::Duration;

use super::scripted::{Soak, ok};
use crate::verdict::outside::Outside;
use crate::verdict::{Answer, Limits, OutsideLimit, OutsideReading, Verdict, Watch};

const SHORT: &str = "inconclusive: signal \"checkout errors\" has had values for 0 s, of 15 s that prove something; \
                     they count from 60 s after the switch on";

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn limit() -> OutsideLimit {
    OutsideLimit {
        name: "checkout errors".to_owned(),
        limit: 0.01,
        window: seconds(60),
        lasting: seconds(15),
        gap: seconds(20),
    }
}

/// A soak with enough good answers, and the signal.
fn soak() -> Soak {
    let mut soak = Soak::after(Limits::default(), ok(10));
    soak.watch = soak.watch.with_outside([limit()]);
    soak
}

fn value(value: f64) -> Answer {
    Answer::Value(value)
}

fn none() -> Answer {
    Answer::Nothing("no series".to_owned())
}

/// Lets the soak go on until then, with good answers, and reads the signal. The watch goes through JSON, as over a restart.
fn read(soak: &mut Soak, at: u64, new: Answer, old: Option<Answer>) {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole seconds")]
    let passed = soak.seconds as u64;
    soak.run(at.saturating_sub(passed), ok(10), None);
    soak.watch.observe_outside("checkout errors", OutsideReading { at: seconds(at), new, old });
    let resumed: Watch = serde_json::from_str(&serde_json::to_string(&soak.watch).unwrap()).unwrap();
    assert!(resumed.outside == soak.watch.outside && resumed.now() == soak.watch.now());
    soak.watch = resumed;
}

fn all(soak: &mut Soak, times: &[u64], new: f64) {
    times.iter().for_each(|at| read(soak, *at, value(new), None));
}

#[test]
fn a_value_within_its_limit_is_good_and_shown() {
    let mut soak = soak();
    all(&mut soak, &[60, 65, 70, 75], 0.0021);
    let text = soak.text();
    assert!(text.starts_with("good: 750 answers of green"), "{text}");
    assert!(text.ends_with("; signal \"checkout errors\" 0.0021 (limit 0.01)"), "{text}");
}

#[test]
fn a_value_over_its_limit_for_long_enough_is_bad() {
    let mut soak = soak();
    all(&mut soak, &[60, 65, 70], 0.031);
    assert_eq!(soak.watch.now(), None, "10 s of 15 s");
    let text = soak.text();
    assert_eq!(
        text,
        "inconclusive: signal \"checkout errors\" is 0.031, above its limit 0.01, for 10 s; not proven"
    );
    all(&mut soak, &[75], 0.031);
    assert!(matches!(soak.watch.now(), Some(Verdict::Bad(_))));
    assert_eq!(soak.text(), "bad: signal \"checkout errors\" is 0.031, above its limit 0.01, for 15 s");
    all(&mut soak, &[80], 0.0);
    assert!(soak.text().starts_with("bad: "), "what is proven stays");
}

#[test]
fn one_reading_or_two_are_never_bad() {
    for times in [&[60][..], &[60, 80], &[60, 75]] {
        let mut soak = soak();
        all(&mut soak, times, 99.0);
        assert_eq!(soak.watch.now(), None, "{times:?}");
        assert!(soak.text().starts_with("inconclusive: signal "), "{}", soak.text());
    }
}

#[test]
fn one_reading_within_the_limit_begins_anew() {
    let mut soak = soak();
    all(&mut soak, &[60, 65, 70], 0.5);
    all(&mut soak, &[74], 0.009);
    all(&mut soak, &[75, 80, 85], 0.5);
    assert_eq!(soak.watch.now(), None);
    all(&mut soak, &[90], 0.5);
    assert!(soak.watch.now().is_some());
}

/// A value that is over the limit half of the time is not bad, however often somebody looks.
#[test]
fn looking_often_makes_no_alarm() {
    for every_ms in [1, 10, 100, 1_000, 5_000] {
        let mut soak = soak();
        soak.run(60, ok(10), None);
        let mut at = seconds(60);
        while at < seconds(600) {
            // 14 s over the limit, one second within it.
            let is_over = at.as_millis() % 15_000 < 14_000;
            let new = value(if is_over { 1.0 } else { 0.0 });
            soak.watch.observe_outside("checkout errors", OutsideReading { at, new, old: None });
            at += Duration::from_millis(every_ms);
        }
        // Looks that are so rare that they miss the second may see it over the limit all the time.
        assert_eq!(soak.watch.now().is_some(), every_ms == 5_000, "every {every_ms} ms");
    }
}

#[test]
fn nothing_counts_from_before_the_switch() {
    let mut soak = soak();
    all(&mut soak, &[1, 10, 20, 30, 40, 50, 59], 1.0);
    assert_eq!(soak.watch.now(), None);
    assert_eq!(soak.text(), SHORT);
    let shown = soak.watch.outside().next().unwrap().to_string();
    let said =
        "signal \"checkout errors\" without a value: its window of 60 s reaches back before the switch";
    assert_eq!(shown, said);
    all(&mut soak, &[60, 70], 1.0);
    assert_eq!(soak.watch.now(), None);
    all(&mut soak, &[76], 1.0);
    assert!(soak.watch.now().is_some());
}

#[test]
fn no_value_is_neither_good_nor_bad() {
    for (nothing, why) in [
        (none(), "no series"),
        (value(f64::NAN), "it is NaN, as of nothing divided by nothing"),
        (Answer::Nothing("no answer within 5s".to_owned()), "no answer within 5s"),
    ] {
        let mut soak = soak();
        (60..120).step_by(5).for_each(|at| read(&mut soak, at, nothing.clone(), None));
        assert_eq!(soak.watch.now(), None);
        let text = soak.text();
        assert_eq!(text, format!("inconclusive: signal \"checkout errors\" has no value: {why}"));
    }
    let mut soak = soak();
    soak.run(70, ok(10), None);
    assert_eq!(soak.text(), SHORT);
}

#[test]
fn a_missing_value_does_not_end_what_is_over() {
    let mut soak = soak();
    all(&mut soak, &[60, 65], 0.5);
    read(&mut soak, 70, none(), None);
    all(&mut soak, &[75], 0.5);
    assert!(soak.watch.now().is_some());
    // A gap does: nobody knows what was in it.
    let mut soak = self::soak();
    all(&mut soak, &[60, 65], 0.5);
    all(&mut soak, &[90], 0.5);
    assert_eq!(soak.watch.now(), None);
}

#[test]
fn a_system_that_dies_before_the_end_leaves_it_open() {
    let mut soak = soak();
    all(&mut soak, &[60, 65, 70, 75, 80], 0.0);
    for at in [85, 90, 95] {
        read(&mut soak, at, none(), None);
    }
    assert!(soak.text().starts_with("good: "), "within the gap: {}", soak.text());
    for at in [100, 105] {
        read(&mut soak, at, none(), None);
    }
    assert_eq!(soak.text(), "inconclusive: signal \"checkout errors\" has no value: no series");
    all(&mut soak, &[110], 0.0);
    assert_eq!(soak.text(), SHORT);
    all(&mut soak, &[120, 125], 0.0);
    assert!(soak.text().starts_with("good: "), "{}", soak.text());
}

#[test]
fn what_the_old_version_does_as_well_does_not_count() {
    // Limit 0.01, tolerance 1.5.
    for (new, old, is_bad) in [
        (0.031, value(0.002), true),
        (0.031, value(0.03), false),
        (0.031, value(0.0206), true),
        (0.009, value(0.0), false),
        (f64::INFINITY, value(1.0), true),
        (f64::INFINITY, value(f64::INFINITY), false),
        (0.5, value(-2.0), true),
        (0.5, none(), false),
        (0.5, value(f64::NAN), false),
    ] {
        let mut soak = soak();
        [60, 65, 70, 75].iter().for_each(|at| read(&mut soak, *at, value(new), Some(old.clone())));
        assert_eq!(soak.watch.now().is_some(), is_bad, "{new} and {old:?}: {}", soak.text());
    }
}

#[test]
fn the_old_version_is_shown() {
    let mut soak = soak();
    [60, 65, 70, 75].iter().for_each(|at| read(&mut soak, *at, value(0.031), Some(value(0.002))));
    let said =
        "bad: signal \"checkout errors\" is 0.031, above its limit 0.01, for 15 s; the old version: 0.002";
    assert_eq!(soak.text(), said);
}

#[test]
fn an_old_version_without_a_value_matters_only_above_the_limit() {
    let mut soak = soak();
    [60, 65, 70, 75].iter().for_each(|at| read(&mut soak, *at, value(0.001), Some(none())));
    assert!(soak.text().starts_with("good: "), "{}", soak.text());
    read(&mut soak, 76, value(0.5), Some(none()));
    let said = "inconclusive: signal \"checkout errors\" has no value: it is 0.5, above its limit 0.01, and the old \
                version has no value to compare with: no series";
    assert_eq!(soak.text(), said);
}

#[test]
fn a_signal_does_not_hide_too_few_answers() {
    let mut watch = Soak::after(Limits::default(), ok(10));
    watch.watch = watch.watch.with_outside([limit()]);
    for at in [60, 65, 70, 75] {
        watch.run(if at == 60 { 60 } else { 5 }, ok(0), None);
        watch.watch.observe_outside(
            "checkout errors",
            OutsideReading { at: seconds(at), new: value(0.0), old: None },
        );
    }
    assert_eq!(watch.text(), "inconclusive: only 0 answers of green, of 50 that prove something");
}

/// Every order of seven readings, one each 5 s, beside the rule in words.
#[test]
fn every_short_walk_keeps_to_the_rule() {
    let switched = Duration::ZERO;
    let mut found = 0;
    for walk in 0..3_usize.pow(7) {
        let kinds: Vec<usize> = (0..7).map(|at| walk / 3_usize.pow(at) % 3).collect();
        let mut signal = Outside::new(limit());
        let mut bad_at = None;
        for (at, kind) in kinds.iter().enumerate() {
            let new = [value(0.0), value(1.0), none()][*kind].clone();
            let reading = OutsideReading { at: seconds(60 + 5 * at as u64), new, old: None };
            signal.observe(&reading, switched, 1.5);
            if signal.bad().is_some() {
                bad_at.get_or_insert(at);
            }
        }
        // Over at both ends, 15 s apart, three times, never within the limit, and never 20 s without a value.
        let proves = |from: usize, to: usize| {
            let span = &kinds[from..=to];
            let over = span.iter().filter(|kind| **kind == 1).count();
            let longest_without = span.split(|kind| *kind == 1).map(<[usize]>::len).max().unwrap_or(0);
            to - from >= 3
                && span[0] == 1
                && kinds[to] == 1
                && over >= 3
                && !span.contains(&0)
                && (longest_without + 1) * 5 <= 20
        };
        let wanted = (0..7).find(|to| (0..*to).any(|from| proves(from, *to)));
        assert_eq!(bad_at, wanted, "{kinds:?}");
        found += usize::from(wanted.is_some());
    }
    assert!(found > 50 && found < 1_000, "{found}");
}
