//! `[group.NAME.soak]`: how the new version is watched and judged.

use std::collections::BTreeMap;

use cutover_core::probe::Require;
use cutover_core::verdict::limits::{LatencyLimit, Limits, RateLimit};
use cutover_core::verdict::signal::Signal;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::value::{Count, Duration, Ratio, not_zero};

/// The longest time that a soak must have been watched without a gap.
const LONGEST_MIN_TIME: std::time::Duration = std::time::Duration::from_secs(5);
/// The limit of failed attempts where all servers must be healthy.
const FAILED_ATTEMPTS: f64 = 0.05;

/// `[group.NAME.soak]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Soak {
    /// How long the daemon watches the new slot.
    pub duration: Duration,
    /// Time between two readings of the counters.
    #[serde(deserialize_with = "not_zero")]
    pub interval: Duration,
    /// With fewer answers the soak is inconclusive.
    pub min_requests: Count,
    /// Maximum share of bad answers: 5xx, rescued and unanswered.
    pub max_error_ratio: Ratio,
    /// Maximum share of failed attempts. `None` means 0.05 if all servers must be healthy. Otherwise there is no limit,
    /// because attempts fail on the servers that may be dead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_failed_attempts_ratio: Option<Ratio>,
    /// The probability that a soak takes a good version back.
    pub alpha: Ratio,
    /// How long a request may wait for its answer to begin. `None`: ten times the p99 of the old version, 2 s to 30 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<Duration>,
    /// Fewer bad answers than this are never bad before the end.
    pub min_bad: Count,
    /// A comparison with the time before the switch allows so many times more than one at the same time.
    #[serde(deserialize_with = "at_least_one")]
    pub tolerance: f64,
    /// The limits of single signals.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub signals: BTreeMap<Signal, Setting>,
    /// What happens after an inconclusive soak.
    inconclusive: Inconclusive,
}

/// The limit of one signal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Setting {
    /// `false`: the signal is not judged. `true`: by its defaults.
    Switch(bool),
    /// A share of the requests.
    Rate(RateSetting),
    /// A latency.
    Latency(LatencySetting),
}

/// The limit of a share.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateSetting {
    /// What is always allowed.
    pub max: Ratio,
    /// So many times the old version's odds are allowed. Absent: no comparison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<f64>,
    /// What is allowed without figures of the old version. Absent: `max`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alone: Option<Ratio>,
}

/// The limit of a latency.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatencySetting {
    /// What is always fast enough.
    pub max: Duration,
    /// So many times the old version's latency are allowed. Absent: no comparison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Inconclusive {
    Rollback,
    Complete,
}

impl Soak {
    /// The limits for core.
    pub fn limits(&self, require: Require) -> Limits {
        let mut limits = Limits {
            alpha: self.alpha.get(),
            min_requests: u64::from(self.min_requests.get()),
            min_time: self.min_time(),
            patience: self.patience.map(Duration::get),
            min_bad: u64::from(self.min_bad.get()),
            tolerance: self.tolerance,
            ..Limits::default()
        };
        let signals = &mut limits.signals;
        let errors = self.max_error_ratio.get();
        signals.errors = signals.errors.map(|limit| RateLimit { max: errors, alone: errors, ..limit });
        let of_attempts = (require == Require::All).then_some(FAILED_ATTEMPTS);
        let attempts = self.max_failed_attempts_ratio.map(Ratio::get).or(of_attempts);
        signals.attempts = attempts.and_then(|attempts| {
            signals.attempts.map(|limit| RateLimit { max: attempts, alone: attempts, ..limit })
        });
        for (signal, setting) in &self.signals {
            setting.apply(*signal, &mut limits);
        }
        limits
    }

    /// A soak shorter than this, without a gap in its readings, proves nothing. Tests have soaks that are shorter than any in use.
    pub fn min_time(&self) -> std::time::Duration {
        self.duration.get().min(LONGEST_MIN_TIME)
    }

    /// Whether an inconclusive soak counts as success.
    pub fn accepts_inconclusive(&self) -> bool {
        self.inconclusive == Inconclusive::Complete
    }
}

impl Setting {
    fn apply(self, signal: Signal, limits: &mut Limits) {
        let signals = &mut limits.signals;
        let rate = match signal {
            Signal::Errors => Some(&mut signals.errors),
            Signal::Attempts => Some(&mut signals.attempts),
            Signal::ClientErrors => Some(&mut signals.client_errors),
            Signal::Redirects => Some(&mut signals.redirects),
            Signal::Aborted => Some(&mut signals.aborted),
            Signal::Upgrades => Some(&mut signals.upgrades),
            Signal::P50 | Signal::P95 | Signal::P99 | Signal::WholeP95 | Signal::Slower => None,
        };
        if let Some(rate) = rate {
            match self {
                Self::Switch(false) => *rate = None,
                Self::Rate(RateSetting { max, times, alone }) => {
                    let alone = alone.unwrap_or(max).get();
                    *rate = Some(RateLimit { max: max.get(), times, alone });
                }
                Self::Switch(true) | Self::Latency(_) => {}
            }
            return;
        }
        let latency = match signal {
            Signal::P50 => &mut signals.p50,
            Signal::P95 => &mut signals.p95,
            Signal::P99 => &mut signals.p99,
            Signal::WholeP95 => &mut signals.whole_p95,
            _ => &mut signals.slower,
        };
        match self {
            Self::Switch(false) => *latency = None,
            Self::Latency(LatencySetting { max, times }) => {
                *latency = Some(LatencyLimit { max: max.get(), times });
            }
            Self::Switch(true) | Self::Rate(_) => {}
        }
    }
}

fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let factor = f64::deserialize(deserializer)?;
    if !(1.0..=100.0).contains(&factor) {
        return Err(de::Error::custom(format!("{factor} is not a tolerance from 1 to 100, as in 1.5")));
    }
    Ok(factor)
}

impl Default for Soak {
    fn default() -> Self {
        Self {
            duration: Duration::seconds(60),
            interval: Duration::seconds(1),
            min_requests: Count::new(50),
            max_error_ratio: Ratio::new(0.01),
            max_failed_attempts_ratio: None,
            alpha: Ratio::new(0.01),
            patience: None,
            min_bad: Count::new(3),
            tolerance: 1.5,
            signals: BTreeMap::new(),
            inconclusive: Inconclusive::Rollback,
        }
    }
}
