//! Answers until a slower version is found.

use std::time::Duration;

use cutover_core::verdict::{LatencyLimit, Limits};

use crate::fixed::{log_means, mann_whitney};
use crate::random::Random;
use crate::report::{Times, head, percent, row, trials};
use crate::traffic::{Behaviour, SIGMA, Soak};

const TRIALS: u64 = 1_000;

/// Answers of each version between two looks, at 100 a second.
const EACH: u64 = 8;

pub(crate) fn print() {
    let columns = [
        "slower by",
        "limit of the distribution",
        "mean",
        "p90",
        "fixed sample, 95 % (99 %)",
        "mean / fixed",
        "p90 / fixed",
        "p99 over the limit (threshold), mean",
        "Mann-Whitney of p99, 50 points: answers, found",
    ];
    head(
        "Answers of each version until a slowdown is found; log-normal, half of the traffic each, all signals on",
        &columns,
    );
    for (slower, allowed) in [(1.2, 1.0), (2.0, 1.0), (10.0, 1.0), (2.0, 1.5), (10.0, 1.5)] {
        let old = Behaviour::good();
        let new = Behaviour { median_ms: old.median_ms * slower, ..old };
        let limits = allowing(allowed);
        let times = Times(trials(6, TRIALS, |random| until(random, &limits, &old, &new, 200_000).0));
        let threshold = Times(trials(7, TRIALS, |random| threshold(random, slower, 1.1 * allowed)));
        let found = trials(8, TRIALS / 4, |random| {
            let mut points = |times: f64| {
                let mut p99 =
                    || (0..100).map(|_| times * (SIGMA * random.normal()).exp()).fold(0.0, f64::max);
                (0..50).map(|_| p99()).collect::<Vec<_>>()
            };
            mann_whitney(&points(slower), &points(allowed))
        });
        let found = found.iter().filter(|found| **found).count() as f64 / found.len() as f64;
        let (best, surest) =
            (log_means(slower / allowed, SIGMA, 0.95), log_means(slower / allowed, SIGMA, 0.99));
        row(&[
            format!("{slower} times"),
            format!("{allowed} times"),
            format!("{:.0}", times.mean()),
            format!("{:.0}", times.p90()),
            format!("{best:.0} ({surest:.0})"),
            format!("{:.2}", times.mean() / best),
            format!("{:.2}", times.p90() / best),
            format!("{:.0}", threshold.mean()),
            format!("5,000, {}", percent(found)),
        ]);
    }
    false_alarms();
}

/// How often a version that is as slow as allowed is found slower.
fn false_alarms() {
    const ANSWERS: u64 = 1_000;
    head(
        "False alarms of all signals, with latencies at the limit of the distribution; 1,000 answers of each version",
        &["slower by", "limit of the distribution", "false alarms"],
    );
    for allowed in [1.0, 1.5] {
        let old = Behaviour::good();
        let new = Behaviour { median_ms: old.median_ms * allowed, ..old };
        let limits = allowing(allowed);
        let alarms = trials(11, 2 * TRIALS, |random| until(random, &limits, &old, &new, ANSWERS).1);
        let share = alarms.iter().filter(|alarm| **alarm).count() as f64 / alarms.len() as f64;
        row(&[format!("{allowed} times"), format!("{allowed} times"), percent(share)]);
    }
}

/// All signals on.
fn allowing(times: f64) -> Limits {
    let mut limits = Limits::default();
    limits.signals.slower = Some(LatencyLimit { max: Duration::from_millis(1), times: Some(times) });
    limits
}

/// Answers of each version until an alarm, and whether there was one.
fn until(random: &mut Random, limits: &Limits, old: &Behaviour, new: &Behaviour, most: u64) -> (f64, bool) {
    let mut soak = Soak::new(limits.clone(), random, old, 2_000);
    let mut answers = 0;
    while answers < most {
        answers += EACH;
        new.answer(random, &mut soak.new, EACH);
        old.answer(random, &mut soak.old, EACH);
        if soak.look(EACH as f64 / 100.0, true) {
            return (answers as f64, true);
        }
    }
    (answers as f64, false)
}

/// Answers until the p99 of all, looked at each 50, is over so many times the true p99 of the old version.
fn threshold(random: &mut Random, slower: f64, allowed: f64) -> f64 {
    let limit = allowed * (SIGMA * 2.326).exp();
    let (mut answers, mut over) = (0u64, 0u64);
    loop {
        answers += 1;
        over += u64::from(slower * (SIGMA * random.normal()).exp() > limit);
        if answers % 50 == 0 && over * 100 > answers || answers >= 100_000 {
            return answers as f64;
        }
    }
}
