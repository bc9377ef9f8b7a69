//! `[group.NAME.soak]`: how the new version is watched and judged.

use std::collections::BTreeMap;

use cutover_core::probe::Require;
use cutover_core::verdict::limits::{LimitMut, Signals};
use cutover_core::verdict::{LatencyLimit, Limits, RateLimit, Signal};
use serde::{Deserialize, Deserializer, Serialize, de};

use super::synthetic::Synthetic;
use super::value::{Count, Duration, Ratio, not_zero};

/// The longest time that a soak must have been watched without a gap.
const LONGEST_MIN_TIME: std::time::Duration = std::time::Duration::from_secs(5);
/// What a comparison may allow.
const FACTORS: std::ops::RangeInclusive<f64> = 1.0..=100.0;
/// The limit of failed attempts where all servers must be healthy.
const FAILED_ATTEMPTS: f64 = 0.05;

/// `[group.NAME.soak]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Soak {
    /// How long the new version is watched with all of the traffic.
    pub duration: Duration,
    /// Time between two readings of the counters and queries.
    #[serde(deserialize_with = "not_zero")]
    pub interval: Duration,
    /// With fewer answers the soak is inconclusive.
    pub min_requests: Count,
    /// Maximum share of bad answers, from 0 to 1: 5xx, rescued and unanswered.
    pub max_error_ratio: Ratio,
    /// Maximum share of failed attempts, from 0 to 1. Without it, 0.05 if all servers must be healthy. Otherwise there is no limit,
    /// because attempts fail on the servers that may be dead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_failed_attempts_ratio: Option<Ratio>,
    /// The probability that a soak takes a good version back.
    pub alpha: Ratio,
    /// How long a request may wait for its answer to begin. Without it, ten times the p99 of the old version, 2 s to 30 s.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "some_time")]
    pub patience: Option<Duration>,
    /// Fewer bad answers than this are never bad before the end.
    pub min_bad: Count,
    /// A comparison with the time before the switch allows so many times more than one at the same time.
    #[serde(deserialize_with = "at_least_one")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 100)))]
    pub tolerance: f64,
    /// The soak compares with what the old version did in this time before the deployment, too. Zero: only since its start.
    pub baseline: Duration,
    /// The limits of single signals: `false` does not judge one, `true` judges it by its defaults, a table sets its limit.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "fitting")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "super::schema::signals"))]
    pub signals: BTreeMap<Signal, Setting>,
    /// What happens when the time is over and the verdict is inconclusive.
    pub on_inconclusive: OnInconclusive,
    /// How much longer a soak takes at most with `on_inconclusive` of `extend`.
    pub extend_limit: Duration,
    /// Requests that are sent to the new version during the soak, for sites with few users. Without it, only users send
    /// requests; {} has the defaults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub synthetic: Option<Synthetic>,
}

/// The limit of one signal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "a limit is `false`, or as in `{ max = 0.1, times = 2.0, alone = 0.5 }` for a share, or as in \
                 `{ max = \"300ms\", times = 3.0 }` for a latency"
)]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RateSetting {
    /// The share of the requests that is always allowed, from 0 to 1.
    pub max: Ratio,
    /// So many times the old version's odds are allowed. Absent: no comparison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 100)))]
    pub times: Option<f64>,
    /// The share that is allowed without figures of the old version. Absent: `max`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alone: Option<Ratio>,
}

/// The limit of a latency.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LatencySetting {
    /// What is always fast enough.
    pub max: Duration,
    /// So many times the old version's latency are allowed. Absent: no comparison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 100)))]
    pub times: Option<f64>,
}

/// What follows an inconclusive soak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnInconclusive {
    /// It goes on until there is a verdict. After the limit, traffic goes back.
    Extend,
    /// Traffic goes back.
    Rollback,
    /// The new version stays.
    Promote,
}

impl Soak {
    /// The limits for core.
    pub fn limits(&self, require: Require) -> Limits {
        let mut limits = Limits {
            alpha: self.alpha.get(),
            min_requests: u64::from(self.min_requests.get()),
            min_time: self.min_time(),
            gap: Limits::default().gap.max(self.interval.get() * 2),
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

    /// The share of bad answers that is allowed: 1 if errors are not judged.
    pub fn max_errors(&self) -> f64 {
        match self.signals.get(&Signal::Errors) {
            Some(Setting::Rate(limit)) => limit.max.get(),
            Some(Setting::Switch(false)) => 1.0,
            _ => self.max_error_ratio.get(),
        }
    }

    /// Whether an inconclusive soak counts as success.
    pub fn accepts_inconclusive(&self) -> bool {
        self.on_inconclusive == OnInconclusive::Promote
    }

    /// How much longer an inconclusive soak goes on at most. `None`: it does not.
    pub fn extended_by(&self) -> Option<std::time::Duration> {
        (self.on_inconclusive == OnInconclusive::Extend).then_some(self.extend_limit.get())
    }
}

impl Setting {
    fn apply(self, signal: Signal, limits: &mut Limits) {
        match (limits.signals.limit_mut(signal), self) {
            (LimitMut::Rate(rate), Self::Switch(false)) => *rate = None,
            (LimitMut::Latency(latency), Self::Switch(false)) => *latency = None,
            (LimitMut::Rate(rate), Self::Rate(RateSetting { max, times, alone })) => {
                let alone = alone.unwrap_or(max).get();
                *rate = Some(RateLimit { max: max.get(), times, alone });
            }
            (LimitMut::Latency(latency), Self::Latency(LatencySetting { max, times })) => {
                *latency = Some(LatencyLimit { max: max.get(), times });
            }
            // The defaults. `fitting` refuses a limit of the other kind.
            (_, Self::Switch(true) | Self::Rate(_) | Self::Latency(_)) => {}
        }
    }

    fn times(self) -> Option<f64> {
        match self {
            Self::Switch(_) => None,
            Self::Rate(RateSetting { times, .. }) | Self::Latency(LatencySetting { times, .. }) => times,
        }
    }
}

/// Settings of signals, each of its signal's kind.
fn fitting<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<Signal, Setting>, D::Error> {
    let signals = BTreeMap::<Signal, Setting>::deserialize(deserializer)?;
    let mut defaults = Signals::default();
    for (signal, setting) in &signals {
        let key = serde_json::to_string(signal).unwrap_or_default();
        let what = format!("the limit of {key}");
        match (defaults.limit_mut(*signal), setting) {
            (LimitMut::Rate(_), Setting::Latency(_)) => {
                return Err(de::Error::custom(format!(
                    "{what} is a share of the requests, as in {{ max = 0.1 }}"
                )));
            }
            (LimitMut::Latency(_), Setting::Rate(_)) => {
                return Err(de::Error::custom(format!("{what} is a latency, as in {{ max = \"300ms\" }}")));
            }
            _ => {}
        }
        if let Some(times) = setting.times().filter(|times| !FACTORS.contains(times)) {
            return Err(de::Error::custom(format!(
                "{what}: times = {times} is not a factor from 1 to 100, as in 2.0"
            )));
        }
    }
    Ok(signals)
}

fn some_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    not_zero(deserializer).map(Some)
}

fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let factor = f64::deserialize(deserializer)?;
    if !FACTORS.contains(&factor) {
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
            baseline: Duration::seconds(600),
            signals: BTreeMap::new(),
            on_inconclusive: OnInconclusive::Rollback,
            extend_limit: Duration::seconds(600),
            synthetic: None,
        }
    }
}
