use std::time::Duration;

use proptest::prelude::*;

use super::scripted::{Second, ok, pass, reading};
use crate::verdict::{Change, LatencyLimit, Limits, RateLimit, Sample, Vigil};

/// A vigil over one slot, second by second.
struct Night {
    vigil: Vigil,
    slot: Sample,
    seconds: f64,
}

impl Night {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        let mut night = Self { vigil: Vigil::new(limits, "green"), slot: Sample::default(), seconds: 0.0 };
        // What was counted before the vigil does not matter.
        pass(&mut night.slot, Second { error: 1_000, ..Second::default() });
        assert_eq!(night.look(), None);
        night
    }

    fn look(&mut self) -> Option<Change> {
        self.vigil.observe(&reading(self.seconds, false, Some(&self.slot), &Sample::default()))
    }

    fn step(&mut self, second: Second) -> Option<Change> {
        self.seconds += 1.0;
        pass(&mut self.slot, second);
        self.look()
    }

    /// The first change within so many seconds, and after how many it came.
    fn run(&mut self, seconds: u64, second: Second) -> Option<(u64, Change)> {
        (1..=seconds).find_map(|passed| Some((passed, self.step(second)?)))
    }

    #[track_caller]
    fn bad(&mut self, within: u64, second: Second, reason: &str) {
        match self.run(within, second) {
            Some((_, Change::Bad(why))) => {
                assert!(why.to_string().contains(reason), "{why}");
                assert_eq!(self.vigil.bad(), Some(&why));
            }
            other => panic!("{other:?} within {within} s; {}", self.vigil.figures()),
        }
    }

    #[track_caller]
    fn nothing(&mut self, seconds: u64, second: Second) {
        let change = self.run(seconds, second);
        assert_eq!(change, None);
    }
}

const GOOD: Second =
    Second { ok: 20, redirect: 0, not_found: 0, error: 0, hang: 0, give_up: 0, upgrade: 0, ms: 0 };

#[test]
fn what_is_broken_is_seen_within_seconds_however_long_all_was_well() {
    for well in [0, 30, 599, 600, 601, 7_200] {
        for (second, within, reason) in [
            (Second { error: 20, ..Second::default() }, 2, "are errors"),
            (Second { error: 4, ok: 16, ..Second::default() }, 9, "are errors"),
            (Second { hang: 20, ..Second::default() }, 34, "unanswered"),
            (Second { give_up: 20, ..Second::default() }, 4, "were given up by the client"),
        ] {
            let mut night = Night::new();
            night.nothing(well, GOOD);
            night.bad(within, second, reason);
        }
    }
}

#[test]
fn a_slot_with_little_traffic_is_judged_by_a_few_answers() {
    let mut night = Night::new();
    for minute in 0..60 {
        assert_eq!(night.step(ok(1)), None, "{minute}");
        night.nothing(59, Second::default());
    }
    let bad = Second { error: 1, ..Second::default() };
    let mut until_bad = (1..=8).filter(|_| {
        let change = night.step(bad);
        change.or(night.run(59, Second::default()).map(|(_, change)| change)).is_some()
    });
    assert!(until_bad.next().is_some(), "{}", night.vigil.figures());
}

#[test]
fn it_is_well_again_after_enough_good_answers() {
    let mut night = Night::new();
    night.bad(2, Second { error: 20, ..Second::default() }, "errors");
    night.nothing(60, Second { error: 20, ..Second::default() });
    // The reason follows what was seen last.
    night.nothing(20, Second { give_up: 20, ..Second::default() });
    let why = night.vigil.bad().map(ToString::to_string);
    assert!(why.as_deref().is_some_and(|why| why.contains("given up")), "{why:?}");
    let (after, change) = night.run(60, GOOD).unwrap();
    let Change::Recovered(figures) = change else { panic!("{change:?}") };
    assert!((30..40).contains(&after), "{after}");
    assert_eq!((figures.new.count.bad, figures.new.slot.as_str()), (0, "green"));
    assert_eq!(night.vigil.bad(), None);
    night.bad(2, Second { error: 20, ..Second::default() }, "errors");
}

#[test]
fn too_few_answers_do_not_make_it_well() {
    let mut night = Night::new();
    night.bad(2, Second { error: 20, ..Second::default() }, "errors");
    night.nothing(3_600, Second::default());
    assert!(night.vigil.bad().is_some());
    night.nothing(49, ok(1));
    assert!(matches!(night.run(2, ok(1)), Some((_, Change::Recovered(_)))));
}

#[test]
fn what_a_comparison_alone_can_judge_is_not_judged() {
    for second in [
        Second { not_found: 20, ..Second::default() },
        Second { redirect: 20, ..Second::default() },
        Second { ok: 20, ms: 9_000, ..Second::default() },
        Second { ok: 16, give_up: 4, ..Second::default() },
    ] {
        Night::new().nothing(1_300, second);
    }
}

#[test]
fn absolute_limits_of_the_operator_hold() {
    let mut limits = Limits::default();
    limits.signals.client_errors = Some(RateLimit { max: 0.2, times: None, alone: 0.9 });
    limits.signals.p95 = Some(LatencyLimit { max: Duration::from_millis(300), times: None });
    let mut night = Night::with(limits.clone());
    night.nothing(1_300, Second { ok: 18, not_found: 2, ms: 100, ..Second::default() });
    night.bad(9, Second { not_found: 20, ..Second::default() }, "are 4xx");
    let mut night = Night::with(limits);
    night.bad(9, Second { ok: 20, ms: 2_000, ..Second::default() }, "p95 of green");
}

#[test]
fn a_journaled_vigil_goes_on() {
    let mut night = Night::new();
    for _ in 0..700 {
        night.nothing(1, GOOD);
    }
    let journaled = serde_json::to_string(&night.vigil).unwrap();
    assert!(journaled.len() < 10_000, "{} bytes: it does not grow", journaled.len());
    night.vigil = serde_json::from_str(&journaled).unwrap();
    night.nothing(1, GOOD);
    night.bad(2, Second { error: 20, ..Second::default() }, "errors");
}

#[test]
fn a_clock_that_is_set_back_is_no_reason() {
    let mut night = Night::new();
    night.nothing(100, GOOD);
    night.seconds = 0.0;
    night.nothing(100, GOOD);
    night.bad(2, Second { error: 20, ..Second::default() }, "errors");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Half of the limit: 0.5 % errors, by a fair coin, with nginx restarted and not read now and then.
    #[test]
    fn at_half_the_limit_there_is_no_alarm(
        walk in proptest::collection::vec((0u64..100, 0.0..1.0f64, 0u8..=255), 2_000),
    ) {
        let mut night = Night::new();
        for (at, (requests, luck, event)) in walk.into_iter().enumerate() {
            // How many of the requests fail, by the inverse of the binomial distribution.
            let (mut error, mut tail) = (0u64, 0.995f64.powi(requests as i32));
            let mut sum = tail;
            while sum < luck && error < requests {
                tail *= (requests - error) as f64 / (error + 1) as f64 * 0.005 / 0.995;
                error += 1;
                sum += tail;
            }
            let second = Second { ok: requests - error, error, ..Second::default() };
            if at % 300 == 299 {
                night.slot = Sample::default();
            }
            match event {
                0..20 => pass(&mut night.slot, second),
                _ => prop_assert_eq!(night.step(second), None),
            }
        }
    }
}
