//! Requests until errors over the limit are found.

use crate::threshold::is_over;
use cutover_core::verdict::rate::{Beside, RateTest, raised};
use cutover_core::verdict::sequential::bernoulli::{Count, times_odds};
use cutover_core::verdict::{Limits, Signal};

use crate::fixed::{binomial, mann_whitney, two_rates};
use crate::report::{Times, head, percent, row, trials};

const TRIALS: u64 = 4_000;

/// One look after so many requests: as often as there is news.
const PER_SECOND: f64 = 100.0;

pub(crate) fn print() {
    after_the_switch();
    beside_the_old_version();
}

fn after_the_switch() {
    let columns = [
        "errors",
        "mean",
        "p90",
        "fixed sample, 95 % (99 %)",
        "mean / fixed",
        "p90 / fixed",
        "threshold, mean",
        "Mann-Whitney, 50 points: requests, found",
    ];
    head(
        "Requests until errors are found; limit 1 %, old version clean in 10,000 answers, all signals on",
        &columns,
    );
    let limits = Limits::default();
    let alpha = limits.alpha_of(Signal::Errors);
    let Some(errors) = limits.signals.errors else { return };
    let allowed = raised(&errors, limits.tolerance, Count { of: 10_000, bad: 0 }, 50, alpha / 2.0);
    for rate in [0.02, 0.05, 0.20] {
        let times = Times(trials(1, TRIALS, |random| {
            let mut test = RateTest::new(alpha);
            let mut seen = Count::default();
            while test.alarm() < 1.0 || seen.bad < limits.min_bad {
                let count = Count { of: 1, bad: u64::from(random.chance(rate)) };
                seen.add(count);
                test.observe(seen.of as f64 / PER_SECOND, count, Beside::Alone { limit: allowed });
            }
            seen.of as f64
        }));
        let threshold = Times(trials(2, TRIALS, |random| threshold(|| random.chance(rate))));
        let found = trials(3, TRIALS / 4, |random| {
            let mut points = |rate| (0..50).map(|_| random.binomial(100, rate) as f64).collect::<Vec<_>>();
            mann_whitney(&points(rate), &points(0.0))
        });
        let found = found.iter().filter(|found| **found).count() as f64 / found.len() as f64;
        let (best, surest) = (binomial(0.01, rate, 0.95), binomial(0.01, rate, 0.99));
        row(&[
            format!("1 % -> {}", percent(rate)),
            format!("{:.0}", times.mean()),
            format!("{:.0}", times.p90()),
            format!("{best} ({surest})"),
            format!("{:.2}", times.mean() / best as f64),
            format!("{:.2}", times.p90() / best as f64),
            format!("{:.0}", threshold.mean()),
            format!("5,000, {}", percent(found)),
        ]);
    }
}

/// Requests until a threshold finds errors.
fn threshold(mut bad: impl FnMut() -> bool) -> f64 {
    let (mut requests, mut errors) = (0u64, 0u64);
    while !is_over(errors, requests) && requests < 100_000 {
        requests += 1;
        errors += u64::from(bad());
    }
    requests as f64
}

fn beside_the_old_version() {
    let columns = [
        "errors, old -> new",
        "mean",
        "p90",
        "fixed sample, 95 %",
        "mean / fixed",
        "p90 / fixed",
        "false alarms at 1.25 times the old, 20,000 requests",
    ];
    head(
        "Requests of each version until errors are found; both at the same time, half of the traffic each, limit 1 % and \
         1.25 times",
        &columns,
    );
    let limits = Limits::default();
    for (old, new) in [(0.01, 0.02), (0.01, 0.05), (0.01, 0.20), (0.03, 0.06)] {
        let until = |random: &mut crate::random::Random, rate: f64, most: u64| {
            let mut test = RateTest::new(limits.alpha_of(Signal::Errors));
            let mut requests = 0;
            while test.alarm() < 1.0 && requests < most {
                // A turn is four answers of each.
                requests += 4;
                let mut count = |rate| Count { of: 4, bad: random.binomial(4, rate) };
                let beside = Beside::Split { old: count(old), limit: 0.01, times: Some(1.25) };
                test.observe(requests as f64 / PER_SECOND, count(rate), beside);
            }
            (requests as f64, test.alarm() >= 1.0)
        };
        let times = Times(trials(4, TRIALS / 4, |random| until(random, new, 1_000_000).0));
        let border = times_odds(old, 1.25);
        let false_alarms = trials(5, TRIALS, |random| until(random, border, 20_000).1);
        let false_alarms =
            false_alarms.iter().filter(|alarm| **alarm).count() as f64 / false_alarms.len() as f64;
        let best = two_rates(old, new, 1.25);
        row(&[
            format!("{} -> {}", percent(old), percent(new)),
            format!("{:.0}", times.mean()),
            format!("{:.0}", times.p90()),
            format!("{best:.0}"),
            format!("{:.2}", times.mean() / best),
            format!("{:.2}", times.p90() / best),
            percent(false_alarms),
        ]);
    }
}
