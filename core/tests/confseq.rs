//! Our numbers beside those of other packages: confseq's confidence sequence and betting martingale, scipy's noncentral
//! hypergeometric distribution. `scripts/check-confseq --write` makes the table.

use cutover_core::verdict::sequential::bernoulli::{ALTERNATIVES, Count, log_ratios};
use cutover_core::verdict::sequential::interval::{interval, log_mixture};
use cutover_core::verdict::sequential::two_sample;

#[test]
fn our_numbers_are_those_of_other_packages() {
    let table = include_str!("confseq.csv");
    let mut functions = std::collections::BTreeMap::new();
    for line in table.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let number =
            |cell: usize| if cells[cell].is_empty() { 0.0 } else { cells[cell].parse::<f64>().unwrap() };
        let count = |of: usize| Count { of: number(of) as u64, bad: number(of + 1) as u64 };
        let (new, old, parameter, second, theirs) = (count(1), count(3), number(5), number(6), number(7));
        let alternative = ALTERNATIVES.iter().position(|(times, _)| (times - second).abs() < 1e-9);
        let ours = match cells[0] {
            "lower" => interval(new, parameter, second).0,
            "upper" => interval(new, parameter, second).1,
            "log_mixture" => log_mixture(new, parameter, second),
            "log_ratio" => log_ratios(new, parameter)[alternative.unwrap()],
            "log_owner" => two_sample::log_ratios(new, old, parameter)[alternative.unwrap()],
            other => panic!("{other}"),
        };
        assert!((ours - theirs).abs() < 1e-6 * theirs.abs().max(1.0), "{line}: {ours}");
        *functions.entry(cells[0]).or_insert(0) += 1;
    }
    assert_eq!(functions.len(), 5, "{functions:?}");
}
