//! Our numbers for `scripts/check-confseq`: a line for each case.

use cutover_core::verdict::sequential::bernoulli::{ALTERNATIVES, Count, log_ratios};
use cutover_core::verdict::sequential::interval::{interval, log_mixture};
use cutover_core::verdict::sequential::two_sample;

pub(crate) fn print() {
    println!("function,of,bad,old_of,old_bad,parameter,parameter2,value");
    for (of, bad) in [
        (10, 0),
        (10, 3),
        (76, 1),
        (100, 0),
        (100, 5),
        (1_000, 9),
        (1_000, 40),
        (10_000, 130),
        (100_000, 500),
    ] {
        let count = Count { of, bad };
        for alpha in [0.05, 0.01, 0.001] {
            for best_at in [100.0, 1_000.0] {
                let (lower, upper) = interval(count, alpha, best_at);
                println!("lower,{of},{bad},,,{alpha},{best_at},{lower:e}");
                println!("upper,{of},{bad},,,{alpha},{best_at},{upper:e}");
            }
        }
        for rate in [0.001, 0.01, 0.3] {
            println!("log_mixture,{of},{bad},,,{rate},1000,{:e}", log_mixture(count, rate, 1_000.0));
        }
        if of <= 100 {
            for limit in [0.01, 0.05, 0.5] {
                for ((times, _), value) in ALTERNATIVES.iter().zip(log_ratios(count, limit)) {
                    println!("log_ratio,{of},{bad},,,{limit},{times},{value:e}");
                }
            }
        }
    }
    for (of, bad, old_of, old_bad) in
        [(4, 1, 4, 0), (4, 4, 4, 1), (50, 7, 50, 2), (10, 3, 990, 12), (2_000, 70, 1_500, 20)]
    {
        let (new, old) = (Count { of, bad }, Count { of: old_of, bad: old_bad });
        for times in [1.0, 1.25] {
            for ((more, _), value) in ALTERNATIVES.iter().zip(two_sample::log_ratios(new, old, times)) {
                println!("log_owner,{of},{bad},{old_of},{old_bad},{times},{more},{value:e}");
            }
        }
    }
}
