//! Seconds until errors are found that begin late.

use cutover_core::verdict::rate::{Beside, RateTest};
use cutover_core::verdict::sequential::bernoulli::Count;
use cutover_core::verdict::{Limits, Signal};

use crate::report::{Times, head, row, trials};

/// Requests between two looks, ten times a second.
const EACH: u64 = 10;

pub(crate) fn print() {
    head(
        "Seconds until errors are found that begin late; 100 requests/s, ten looks a second, 0.2 % errors before",
        &["begin after", "5 % errors: mean, p90", "20 %", "all"],
    );
    for begin in [0.0, 25.0, 300.0, 3_600.0] {
        let cell = |rate: f64| {
            let times = Times(trials(10, 400, |random| {
                let mut test = RateTest::new(Limits::default().alpha_of(Signal::Errors));
                let mut seconds = 0.0;
                while test.alarm() < 1.0 && seconds < begin + 600.0 {
                    let bad = random.binomial(EACH, if seconds < begin { 0.002 } else { rate });
                    seconds += 0.1;
                    test.observe(seconds, Count { of: EACH, bad }, Beside::Alone { limit: 0.01 });
                }
                seconds - begin
            }));
            format!("{:.1} s, {:.1} s", times.mean(), times.p90())
        };
        row(&[format!("{begin} s"), cell(0.05), cell(0.20), cell(1.0)]);
    }
}
