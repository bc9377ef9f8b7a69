//! Seconds until requests that are never answered are found.

use cutover_core::verdict::Limits;

use crate::report::{Times, head, row, trials};
use crate::traffic::{Behaviour, Soak};

pub(crate) fn print() {
    head(
        "Seconds until a hang is found; one look a second; patience 6.4 s and 2 s, by the old p99",
        &["requests/s", "part that hangs", "old p99 0.6 s: mean, p90", "old p99 20 ms: mean, p90"],
    );
    for rate in [1, 10, 100] {
        for part in [1.0, 0.5, 0.3, 0.05] {
            let cell = |median_ms: f64| {
                let times = Times(trials(9, 400, |random| {
                    let old = Behaviour { median_ms, ..Behaviour::good() };
                    let mut soak = Soak::new(Limits::default(), random, &old, 2_000);
                    for second in 1..=600 {
                        let hang = random.binomial(rate, part);
                        soak.new.counters.requests += hang;
                        soak.new.counters.attempts += hang;
                        old.answer(random, &mut soak.new, rate - hang);
                        if soak.look(1.0, false) {
                            return f64::from(second);
                        }
                    }
                    600.0
                }));
                let missed = times.0.iter().filter(|seconds| **seconds >= 600.0).count();
                let text = format!("{:.1} s, {:.0} s", times.mean(), times.p90());
                if missed == 0 { text } else { format!("{text}; {missed} of 400 later than 600 s") }
            };
            row(&[rate.to_string(), format!("{} %", 100.0 * part), cell(100.0), cell(3.0)]);
        }
    }
}
