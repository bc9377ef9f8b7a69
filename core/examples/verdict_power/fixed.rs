//! The best tests of a fixed number of requests: they are looked at once, at the end.

/// False alarms, as many as the judge allows itself for all signals together.
pub(crate) const ALPHA: f64 = 0.01;

/// The standard normal quantiles of 99 % and 95 %.
const Z99: f64 = 2.326_347_874;
const Z95: f64 = 1.644_853_627;

/// Requests of the exact binomial test of "the rate is at most `limit`" that finds `rate` with this probability.
pub(crate) fn binomial(limit: f64, rate: f64, power: f64) -> u64 {
    let enough = |n: u64| {
        let critical = critical(n, limit);
        1.0 - below(n, rate, critical) >= power
    };
    // Discrete: some larger sizes are not enough again.
    (1..).find(|n| enough(*n)).unwrap_or(0)
}

/// The least number of bad ones that is an alarm.
fn critical(n: u64, limit: f64) -> u64 {
    let (mut sum, mut term) = (0.0, (n as f64 * (-limit).ln_1p()).exp());
    for k in 0..=n {
        sum += term;
        if 1.0 - sum <= ALPHA {
            return k + 1;
        }
        term *= (n - k) as f64 / (k + 1) as f64 * limit / (1.0 - limit);
    }
    n + 1
}

/// The probability of fewer than this.
fn below(n: u64, rate: f64, critical: u64) -> f64 {
    let (mut sum, mut term) = (0.0, (n as f64 * (-rate).ln_1p()).exp());
    for k in 0..critical.min(n + 1) {
        sum += term;
        term *= (n - k) as f64 / (k + 1) as f64 * rate / (1.0 - rate);
    }
    sum
}

/// Requests of each slot for the test of "the new rate is at most `times` the old one", 95 % power, normal approximation.
pub(crate) fn two_rates(old: f64, new: f64, times: f64) -> f64 {
    let variance = new * (1.0 - new) + times * times * old * (1.0 - old);
    (Z99 + Z95).powi(2) * variance / (new - times * old).powi(2)
}

/// Answers of each slot for the t-test on logarithms of latencies with this spread: the best test there is for log-normal
/// ones. The quarter of a squared quantile makes up for the unknown spread (Guenther 1981).
pub(crate) fn log_means(times: f64, sigma: f64, power: f64) -> f64 {
    let z = if power > 0.97 { Z99 } else { Z95 };
    (2.0 * (Z99 + z).powi(2) * (sigma / times.ln()).powi(2) + Z99 * Z99 / 4.0).ceil()
}

/// The test of Mann and Whitney on as many points of each side: whether the new ones are larger, at 1 %.
pub(crate) fn mann_whitney(new: &[f64], old: &[f64]) -> bool {
    let wins: f64 = new
        .iter()
        .map(|new| {
            old.iter()
                .map(|old| {
                    if new > old {
                        1.0
                    } else if new < old {
                        0.0
                    } else {
                        0.5
                    }
                })
                .sum::<f64>()
        })
        .sum();
    let (m, n) = (new.len() as f64, old.len() as f64);
    let mut all: Vec<f64> = new.iter().chain(old).copied().collect();
    all.sort_by(f64::total_cmp);
    let ties: f64 =
        all.chunk_by(|a, b| a == b).map(|group| (group.len() as f64).powi(3) - group.len() as f64).sum();
    let total = m + n;
    let variance = m * n / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)));
    variance > 0.0 && (wins - m * n / 2.0 - 0.5) / variance.sqrt() > Z99
}
