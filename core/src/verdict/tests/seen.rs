use std::time::Duration;

use super::scripted::{Second, Soak, ok};
use crate::verdict::{Limits, RateLimit, Watch};

fn soak(before: Second) -> Soak {
    Soak::after(Limits::default(), before)
}

/// Whether the version is bad within so many seconds, and the reason says this.
#[track_caller]
fn bad(soak: &mut Soak, within: u64, second: Second, reason: &str) {
    let at = soak.run(within, second, None);
    assert!(at.is_some(), "not bad after {within} s: {}", soak.text());
    let text = soak.text();
    assert!(text.starts_with("bad: ") && text.contains(reason), "{text}");
}

#[track_caller]
fn not_bad(soak: &mut Soak, seconds: u64, second: Second, verdict: &str) {
    let at = soak.run(seconds, second, None);
    assert_eq!(at, None, "{}", soak.text());
    assert!(soak.text().starts_with(verdict), "{}", soak.text());
}

#[test]
fn b1_a_third_of_the_requests_is_never_answered() {
    let second = Second { ok: 14, hang: 6, ..Second::default() };
    bad(&mut soak(ok(20)), 8, second, "unanswered");
}

#[test]
fn b2_half_of_the_requests_hang_until_their_clients_give_up() {
    let second = Second { ok: 10, give_up: 10, ..Second::default() };
    bad(&mut soak(ok(20)), 2, second, "given up by the client");
}

#[test]
fn b3_a_total_hang_is_bad_within_seconds_and_at_the_end() {
    let hang = Second { hang: 20, ..Second::default() };
    bad(&mut soak(ok(20)), 4, hang, "unanswered");
    // One request a minute: too few for a proof, but not for the end.
    let mut quiet = soak(ok(20));
    quiet.run(10, ok(0), None);
    quiet.step(1.0, Second { hang: 1, ..Second::default() }, None);
    quiet.run(10, ok(0), None);
    assert_eq!(quiet.text(), "bad: requests to green that were not answered within 2 s: 1; answered: 0");
}

#[test]
fn b11_one_error_of_76_is_no_proof_of_one_percent() {
    let mut soak = soak(ok(200));
    soak.step(1.0, ok(75), None);
    soak.step(1.0, Second { error: 1, ..Second::default() }, None);
    not_bad(&mut soak, 10, ok(0), "good: 76 answers of green, 1 of them errors");
    // 0.7 % for ten minutes, while the old version has none.
    let mut soak = Soak::after(Limits::default(), ok(200));
    for second in 0..600 {
        let error = u64::from(second % 3 != 0) * 2;
        assert_eq!(soak.step(1.0, Second { ok: 200, error, ..Second::default() }, None), None);
    }
    assert!(soak.text().starts_with("good: "), "{}", soak.text());
}

#[test]
fn b12_open_websockets_are_evidence() {
    let mut soak = soak(ok(10));
    soak.step(1.0, Second { ok: 4, upgrade: 300, ..Second::default() }, None);
    not_bad(&mut soak, 10, ok(4), "good: 344 answers of green");
    assert!(soak.text().contains("300 upgraded connections"), "{}", soak.text());
}

#[test]
fn upgraded_connections_that_close_at_once_are_bad() {
    let mut soak = soak(ok(10));
    let at = (0..30).find_map(|_| {
        // Opened and closed between two readings: only the class 1xx shows them.
        soak.new.counters.responses.informational += 5;
        soak.new.counters.requests += 5;
        soak.step(1.0, ok(4), None)
    });
    assert!(at.is_some_and(|at| at < 20.0), "{}", soak.text());
    assert!(soak.text().contains("closed at once"), "{}", soak.text());
}

#[test]
fn b17_what_begins_late_is_seen_fast() {
    let mut late = soak(ok(100));
    assert_eq!(late.run(20, ok(100), None), None);
    assert!(late.step(0.2, Second { error: 20, ..Second::default() }, None).is_some(), "{}", late.text());
    assert!(late.text().contains("in the last 10 s"), "{}", late.text());

    let mut late = soak(ok(100));
    assert_eq!(late.run(25, ok(100), None), None);
    let found = late.run(30, Second { ok: 95, error: 5, ..Second::default() }, None);
    assert!(found.is_some_and(|at| at < 25.0 + 5.6), "{found:?}");
}

#[test]
fn b24_other_kinds_of_answers_and_slow_ones_are_judged_beside_the_old_version() {
    let before = Second { ok: 18, not_found: 1, redirect: 1, ms: 1, ..Second::default() };
    bad(&mut soak(before), 3, Second { not_found: 20, ms: 1, ..Second::default() }, "are 4xx");
    bad(&mut soak(before), 3, Second { redirect: 20, ms: 1, ..Second::default() }, "are 3xx");
    bad(&mut soak(before), 3, Second { ms: 409, ..before }, "p50 of green 409 ms, of blue 990 us");
    not_bad(&mut soak(before), 60, before, "good: ");
    // An interface that answers mostly 404 goes on doing so.
    let mostly = Second { ok: 6, not_found: 14, ..Second::default() };
    not_bad(&mut soak(mostly), 60, mostly, "good: ");
}

#[test]
fn b25_what_the_old_version_does_as_well_is_no_reason() {
    let scanner = Second { ok: 97, error: 3, ..Second::default() };
    not_bad(&mut soak(scanner), 300, scanner, "good: ");
    // Both at the same time, and the old one did not before.
    let mut split = soak(ok(100));
    assert_eq!(split.run(300, scanner, Some(scanner)), None, "{}", split.text());
    // What is worse than that is found.
    let worse = Second { ok: 80, error: 20, ..Second::default() };
    bad(&mut soak(scanner), 5, worse, "20 of 100 answers of green are errors, 20 %");
    let mut split = soak(scanner);
    assert!(split.run(5, worse, Some(scanner)).is_some(), "{}", split.text());
}

#[test]
fn slower_beside_the_old_version_at_the_same_time() {
    let slow = |ms| Second { ok: 50, ms, ..Second::default() };
    let mut both = soak(slow(80));
    assert_eq!(both.run(120, slow(110), Some(slow(80))), None, "{}", both.text());
    let mut worse = soak(slow(80));
    assert!(worse.run(10, slow(200), Some(slow(80))).is_some(), "{}", worse.text());
    // A slow database is slow for both.
    let mut database = soak(slow(80));
    assert_eq!(database.run(120, slow(2_000), Some(slow(2_000))), None, "{}", database.text());
}

#[test]
fn too_little_is_inconclusive() {
    let mut few = soak(ok(10));
    not_bad(&mut few, 40, ok(1), "inconclusive: only 40 answers of green, of 50 that prove something");
    let mut short = soak(ok(10));
    not_bad(&mut short, 3, ok(100), "inconclusive: watched for 3 s");
}

#[test]
fn b18_a_restart_of_the_daemon_proves_nothing() {
    let mut soak = soak(ok(20));
    soak.run(30, ok(20), None);
    let journaled = serde_json::to_string(&soak.watch).unwrap();
    soak.watch = serde_json::from_str::<Watch>(&journaled).unwrap();
    // The daemon was away past the end of the soak.
    soak.seconds += 600.0;
    soak.step(1.0, ok(20), None);
    assert!(soak.text().starts_with("inconclusive: watched for 0 us"), "{}", soak.text());
    assert!(soak.run(6, ok(20), None).is_none() && soak.text().starts_with("good: "), "{}", soak.text());
}

#[test]
fn b30_a_clock_that_is_set_is_a_gap() {
    for moved in [-7_200.0, 7_200.0] {
        let mut soak = soak(ok(20));
        soak.seconds = 10_000.0;
        assert!(soak.run(60, ok(20), None).is_none() && soak.text().starts_with("good: "), "{}", soak.text());
        soak.seconds += moved;
        soak.step(1.0, ok(20), None);
        assert!(soak.text().starts_with("inconclusive: watched for 0 us"), "{}", soak.text());
        assert!(soak.run(6, ok(20), None).is_none() && soak.text().starts_with("good: "), "{}", soak.text());
        bad(&mut soak, 6, Second { hang: 20, ..Second::default() }, "unanswered");
    }
}

#[test]
fn a_resumed_watch_is_the_same_watch() {
    let second = Second { ok: 95, error: 1, not_found: 4, ms: 30, ..Second::default() };
    let mut soak = soak(second);
    let mut split = false;
    for _ in 0..30 {
        split = !split;
        soak.step(1.0, second, split.then_some(second));
        let journaled = serde_json::to_string(&soak.watch).unwrap();
        let resumed = serde_json::from_str::<Watch>(&journaled).unwrap();
        assert!(journaled.len() < 20_000, "{} bytes", journaled.len());
        assert_eq!(resumed.seen(), soak.watch.seen());
        assert_eq!(resumed.end(), soak.watch.end());
        soak.watch = resumed;
    }
    let worse = Second { error: 20, ..second };
    assert!(soak.run(5, worse, None).is_some(), "{}", soak.text());
}

#[test]
fn signals_can_be_switched_off() {
    let mut limits = Limits::default();
    limits.signals.errors = None;
    let mut soak = Soak::after(limits, ok(20));
    let second = Second { ok: 10, error: 10, ..Second::default() };
    not_bad(&mut soak, 60, second, "good: ");
    let mut limits = Limits { patience: Some(Duration::from_secs(1)), ..Limits::default() };
    limits.signals =
        crate::verdict::Signals { errors: limits.signals.errors, ..crate::verdict::Signals::none() };
    let mut soak = Soak::after(limits, ok(20));
    bad(&mut soak, 3, Second { hang: 10, ..Second::default() }, "unanswered");
}

#[test]
fn a_slow_rhythm_of_readings_is_no_gap() {
    let limits = Limits { gap: Duration::from_secs(20), ..Limits::default() };
    let soak = |limits| {
        let mut soak = Soak::after(limits, ok(20));
        for _ in 0..6 {
            soak.step(10.0, ok(200), None);
        }
        soak.text()
    };
    let verdict = soak(limits);
    assert!(verdict.starts_with("good: "), "{verdict}");
    assert!(soak(Limits::default()).starts_with("inconclusive: "), "{}", soak(Limits::default()));
}

#[test]
fn a_limit_of_zero_allows_no_errors() {
    let mut limits = Limits::default();
    limits.signals.errors = Some(RateLimit { max: 0.0, times: Some(1.25), alone: 0.0 });
    for before in [ok(20), ok(0)] {
        let broken = Second { error: 20, ..Second::default() };
        bad(&mut Soak::after(limits.clone(), before), 2, broken, "errors");
        let mut soak = Soak::after(limits.clone(), before);
        soak.step(1.0, Second { ok: 1_000, error: 3, ..Second::default() }, None);
        assert!(soak.text().starts_with("bad: "), "{}", soak.text());
        not_bad(&mut Soak::after(limits.clone(), before), 10, ok(20), "good: ");
    }
}
