//! Logarithms of the gamma and beta functions and of binomial coefficients.

/// Coefficients of Lanczos' approximation for g = 7, n = 9 (Godfrey's): 15 digits for positive arguments.
const LANCZOS: [f64; 8] = [
    676.520_368_121_885_1,
    -1_259.139_216_722_402_8,
    771.323_428_777_653_1,
    -176.615_029_162_140_6,
    12.507_343_278_686_905,
    -0.138_571_095_265_720_12,
    9.984_369_578_019_572e-6,
    1.505_632_735_149_311_6e-7,
];

/// The logarithm of the gamma function of a positive number.
pub(super) fn ln_gamma(x: f64) -> f64 {
    if x < 0.5 {
        // The reflection formula.
        return (std::f64::consts::PI / (std::f64::consts::PI * x).sin()).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let series = LANCZOS
        .iter()
        .zip(1u32..)
        .fold(0.999_999_999_999_809_9, |sum, (coefficient, n)| sum + coefficient / (x + f64::from(n)));
    let t = x + 7.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + series.ln()
}

/// The logarithm of the beta function of two positive numbers.
pub(super) fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

/// The logarithm of the number of ways to choose `k` of `n`.
pub(super) fn ln_choose(n: u64, k: u64) -> f64 {
    if k == 0 || k >= n {
        return 0.0;
    }
    let (n, k) = (n as f64, k as f64);
    ln_gamma(n + 1.0) - ln_gamma(k + 1.0) - ln_gamma(n - k + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gamma_of_whole_numbers_is_a_factorial() {
        let mut ln_factorial = 0.0;
        for n in 1..200u32 {
            ln_factorial += f64::from(n).ln();
            let error = (ln_gamma(f64::from(n) + 1.0) - ln_factorial).abs();
            assert!(error < 1e-12 * ln_factorial.max(1.0), "{n}: {error}");
        }
        assert!((ln_gamma(0.5) - std::f64::consts::PI.sqrt().ln()).abs() < 1e-13);
        assert!((ln_gamma(0.25) - 3.625_609_908_221_908_f64.ln()).abs() < 1e-13);
    }

    #[test]
    fn choices() {
        assert!((ln_choose(5, 2) - 10f64.ln()).abs() < 1e-13);
        assert!((ln_choose(49, 6) - 13_983_816f64.ln()).abs() < 1e-12);
        assert_eq!((ln_choose(5, 0), ln_choose(5, 5)), (0.0, 0.0));
    }
}
