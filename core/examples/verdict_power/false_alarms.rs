//! How often a version within its limits is found bad.

use crate::threshold::is_over;
use cutover_core::verdict::rate::{Beside, RateTest};
use cutover_core::verdict::sequential::bernoulli::Count;
use cutover_core::verdict::{Limits, Signal};

use crate::report::{head, percent, row, trials};
use crate::traffic::{Behaviour, Soak};

const SOAKS: u64 = 10_000;
const LOOKS: u64 = 3_600;
const LIMIT: f64 = 0.01;

pub(crate) fn print() {
    let title = format!(
        "False alarms: {SOAKS} soaks of {LOOKS} looks, one a second; limit 1 % errors, old version clean"
    );
    head(
        &title,
        &["requests/s", "true rate", "signal errors", "its part of alpha", "threshold at each look"],
    );
    let alpha = Limits::default().alpha_of(Signal::Errors);
    for rate in [10, 50, 200, 2_000] {
        for part in [0.0, 0.5, 0.9, 1.0] {
            // Without errors all soaks are the same.
            let count = if part == 0.0 { 1 } else { SOAKS };
            let alarms = trials(rate + (part * 10.0) as u64, count, |random| {
                let errors =
                    |looks: u64| (0..looks).map(|_| random.binomial(rate, part * LIMIT)).collect::<Vec<_>>();
                both(rate, &{ errors }(LOOKS))
            });
            let share = |which: fn(&(bool, bool)) -> bool| {
                alarms.iter().filter(|alarm| which(alarm)).count() as f64 / count as f64
            };
            row(&[
                rate.to_string(),
                percent(part * LIMIT),
                percent(share(|alarm| alarm.0)),
                percent(alpha),
                percent(share(|alarm| alarm.1)),
            ]);
        }
    }
    all_signals();
}

/// Whether the judge's test of errors, and a threshold, raise an alarm.
fn both(rate: u64, errors: &[u64]) -> (bool, bool) {
    let mut test = RateTest::new(Limits::default().alpha_of(Signal::Errors));
    let (mut answers, mut all_bad) = (0, 0);
    let (mut judge_says, mut threshold_says) = (false, false);
    for (second, bad) in (1..).zip(errors) {
        if !judge_says {
            test.observe(f64::from(second), Count { of: rate, bad: *bad }, Beside::Alone { limit: LIMIT });
            judge_says = test.alarm() >= 1.0;
        }
        if !threshold_says {
            answers += rate;
            all_bad += bad;
            threshold_says = is_over(all_bad, answers);
        }
    }
    (judge_says, threshold_says)
}

/// The whole watch, each signal close to its limit, first beside the old version and then alone.
fn all_signals() {
    const LOOKS: u64 = 60;
    let title = format!(
        "False alarms of the whole judge: {SOAKS} soaks of {LOOKS} looks, half of them with a split, alpha 1 %"
    );
    head(&title, &["traffic", "all signals together"]);
    let near = Behaviour {
        errors: 0.009,
        client_errors: 0.045,
        aborted: 0.045,
        failed_attempts: 0.045,
        median_ms: 100.0,
    };
    let scanner = Behaviour {
        errors: 0.03,
        client_errors: 0.20,
        aborted: 0.10,
        failed_attempts: 0.10,
        median_ms: 400.0,
    };
    for (name, old, new) in [
        ("new at 0.9 of each limit, old the same", near, near),
        ("new at 0.9 of each limit, old clean", Behaviour::good(), near),
        ("both over each limit, 3 % errors", scanner, scanner),
        ("both over each limit, new 1.4 times as slow", scanner, Behaviour { median_ms: 560.0, ..scanner }),
    ] {
        let alarms = trials(77, SOAKS, |random| {
            let mut soak = Soak::new(Limits::default(), random, &old, 1_500);
            (0..LOOKS).any(|look| {
                let split = look < LOOKS / 2;
                new.answer(random, &mut soak.new, 10);
                if split {
                    old.answer(random, &mut soak.old, 10);
                }
                soak.look(1.0, split)
            })
        });
        row(&[name.to_owned(), percent(alarms.iter().filter(|alarm| **alarm).count() as f64 / SOAKS as f64)]);
    }
}
