//! Between which bounds a rate lies, at whatever moment somebody looks.
//!
//! The interval holds all rates that a mixture of likelihood ratios with a beta density has not refuted: the beta-binomial
//! confidence sequence of Howard, Ramdas, McAuliffe, Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence
//! sequences", Annals of Statistics 2021, arXiv 1810.08240, proposition 7. It is the function
//! `bernoulli_confidence_interval` of their package confseq, and `core/tests/confseq.csv` holds values of that one.

use super::bernoulli::Count;
use super::special::ln_beta;

/// The two bounds of the rate: with a probability of `1 - alpha`, the true one is within them at every moment. It is narrowest
/// after `best_at` answers.
pub fn interval(count: Count, alpha: f64, best_at: f64) -> (f64, f64) {
    if count.of == 0 {
        return (0.0, 1.0);
    }
    let threshold = -alpha.ln();
    let refuted = |rate: f64| log_mixture(count, rate, best_at) >= threshold;
    let ratio = count.ratio();
    let lower = if count.bad == 0 { 0.0 } else { bisect(ratio, 0.0, refuted) };
    let upper = if count.bad >= count.of { 1.0 } else { bisect(ratio, 1.0, refuted) };
    (lower, upper)
}

/// The logarithm of the two-sided beta-binomial mixture against this rate, tuned for `best_at` answers and a level of 5 %.
pub fn log_mixture(count: Count, rate: f64, best_at: f64) -> f64 {
    let variance = rate * (1.0 - rate);
    let level: f64 = 1.0 / 0.05;
    let scale = best_at / (2.0 * level.ln() + (2.0 * level.ln()).ln_1p());
    let concentration = (variance * (scale - 1.0)).max(1e-3 * variance);
    let (a, b) = (concentration / rate, concentration / (1.0 - rate));
    let (bad, good) = (count.bad as f64, count.of.saturating_sub(count.bad) as f64);
    ln_beta(a + good, b + bad) - ln_beta(a, b) - bad * rate.ln() - good * (-rate).ln_1p()
}

/// The border between what is not refuted, at `inside`, and what is, towards `outside`.
fn bisect(mut inside: f64, mut outside: f64, refuted: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..60 {
        let middle = f64::midpoint(inside, outside);
        if refuted(middle) {
            outside = middle;
        } else {
            inside = middle;
        }
    }
    f64::midpoint(inside, outside)
}

/// An upper bound of a rate from one look at a sample that does not grow: exceeded by the truth with a probability of at
/// most `alpha`. From Chernoff's bound: the largest rate whose relative entropy is at most `ln(1 / alpha) / n`.
pub fn upper_bound(count: Count, alpha: f64) -> f64 {
    if count.of == 0 || count.bad >= count.of {
        return 1.0;
    }
    let (ratio, most) = (count.ratio(), -alpha.ln() / count.of as f64);
    bisect(ratio, 1.0, |rate| relative_entropy(ratio, rate) > most)
}

fn relative_entropy(of: f64, from: f64) -> f64 {
    let term = |p: f64, q: f64| if p <= 0.0 { 0.0 } else { p * (p / q).ln() };
    term(of, from) + term(1.0 - of, 1.0 - from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_holds_its_ratio_and_shrinks() {
        let mut width = 1.0;
        for of in [10, 100, 1_000, 10_000, 100_000] {
            let (lower, upper) = interval(Count { of, bad: of / 10 }, 0.01, 1_000.0);
            assert!(lower < 0.1 && 0.1 < upper, "{lower} {upper}");
            assert!(upper - lower < width);
            width = upper - lower;
        }
        assert_eq!(interval(Count::default(), 0.01, 1_000.0), (0.0, 1.0));
    }

    #[test]
    fn one_error_of_76_is_no_proof_of_one_percent() {
        let (lower, upper) = interval(Count { of: 76, bad: 1 }, 0.01, 300.0);
        assert!(lower < 0.01 && upper > 0.05, "{lower} {upper}");
    }

    #[test]
    fn upper_bounds() {
        // Without a bad one: 1 - alpha^(1/n).
        let bound = upper_bound(Count { of: 700, bad: 0 }, 0.001);
        assert!((bound - (1.0 - 0.001f64.powf(1.0 / 700.0))).abs() < 1e-9, "{bound}");
        assert!(upper_bound(Count { of: 1000, bad: 30 }, 0.001) < 0.06);
        assert_eq!(upper_bound(Count::default(), 0.001), 1.0);
    }
}
