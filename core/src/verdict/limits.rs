//! What a version has to keep to. `docs/verdict.md` says why each default is what it is.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::signal::Signal;

/// All settings of the judge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The probability of a false alarm of a whole soak, all signals together, however often somebody looks. 0 to 1.
    pub alpha: f64,
    /// Fewer answers than this are never good.
    pub min_requests: u64,
    /// A shorter time without a gap in the readings is never good.
    pub min_time: Duration,
    /// More time than this between two readings is a gap: nobody has watched.
    pub gap: Duration,
    /// Fewer bad ones than this are never bad before the end.
    pub min_bad: u64,
    /// How long a request may wait for its answer to begin. `None`: ten times the old slot's p99, 2 to 30 seconds.
    pub patience: Option<Duration>,
    /// A comparison with what the old slot did before the switch allows so many times more than one at the same time.
    pub tolerance: f64,
    /// The limits of each signal.
    pub signals: Signals,
}

/// The limits by signal; `None` switches one off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "see Signal")]
pub struct Signals {
    pub errors: Option<RateLimit>,
    pub attempts: Option<RateLimit>,
    pub client_errors: Option<RateLimit>,
    pub redirects: Option<RateLimit>,
    pub aborted: Option<RateLimit>,
    pub upgrades: Option<RateLimit>,
    pub p50: Option<LatencyLimit>,
    pub p95: Option<LatencyLimit>,
    pub p99: Option<LatencyLimit>,
    pub whole_p95: Option<LatencyLimit>,
    pub slower: Option<LatencyLimit>,
}

/// A rate is broken when it is over `max` and, if there is a comparison, over so many times the old version's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// What is always allowed, 0 to 1.
    pub max: f64,
    /// What the old version does as well is allowed, and so many times its odds. `None`: no comparison.
    pub times: Option<f64>,
    /// What is allowed in the place of `max` when nothing is known about the old version.
    pub alone: f64,
}

/// A latency is broken when it is over `max` and, if there is a comparison, over so many times the old version's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatencyLimit {
    /// What is always fast enough.
    pub max: Duration,
    /// So many times the old version's latency are allowed. `None`: no comparison.
    pub times: Option<f64>,
}

/// A limit that can be changed or switched off.
#[derive(Debug)]
pub enum LimitMut<'a> {
    /// Of a rate.
    Rate(&'a mut Option<RateLimit>),
    /// Of a latency.
    Latency(&'a mut Option<LatencyLimit>),
}

/// What a signal has to keep to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// Of a rate.
    Rate(RateLimit),
    /// Of a latency.
    Latency(LatencyLimit),
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            alpha: 0.01,
            min_requests: 50,
            min_time: Duration::from_secs(5),
            gap: Duration::from_secs(5),
            min_bad: 3,
            patience: None,
            tolerance: 1.5,
            signals: Signals::default(),
        }
    }
}

impl Default for Signals {
    fn default() -> Self {
        let rate = |max, times, alone| Some(RateLimit { max, times: Some(times), alone });
        let latency = |ms, times| Some(LatencyLimit { max: Duration::from_millis(ms), times: Some(times) });
        Self {
            errors: rate(0.01, 1.25, 0.01),
            attempts: rate(0.05, 1.25, 0.05),
            client_errors: rate(0.05, 2.0, 0.5),
            redirects: rate(0.10, 2.0, 0.5),
            aborted: rate(0.05, 2.0, 0.3),
            upgrades: rate(0.20, 2.0, 0.5),
            p50: latency(50, 2.0),
            p95: latency(100, 3.0),
            p99: latency(200, 3.0),
            whole_p95: latency(500, 3.0),
            slower: latency(50, 1.5),
        }
    }
}

impl Signals {
    /// Everything off.
    pub fn none() -> Self {
        Self {
            errors: None,
            attempts: None,
            client_errors: None,
            redirects: None,
            aborted: None,
            upgrades: None,
            p50: None,
            p95: None,
            p99: None,
            whole_p95: None,
            slower: None,
        }
    }

    /// The limit of a signal, to change it.
    pub fn limit_mut(&mut self, signal: Signal) -> LimitMut<'_> {
        match signal {
            Signal::Errors => LimitMut::Rate(&mut self.errors),
            Signal::Attempts => LimitMut::Rate(&mut self.attempts),
            Signal::ClientErrors => LimitMut::Rate(&mut self.client_errors),
            Signal::Redirects => LimitMut::Rate(&mut self.redirects),
            Signal::Aborted => LimitMut::Rate(&mut self.aborted),
            Signal::Upgrades => LimitMut::Rate(&mut self.upgrades),
            Signal::P50 => LimitMut::Latency(&mut self.p50),
            Signal::P95 => LimitMut::Latency(&mut self.p95),
            Signal::P99 => LimitMut::Latency(&mut self.p99),
            Signal::WholeP95 => LimitMut::Latency(&mut self.whole_p95),
            Signal::Slower => LimitMut::Latency(&mut self.slower),
        }
    }

    /// The limit of a signal that is on.
    pub fn limit(&self, signal: Signal) -> Option<Limit> {
        match signal {
            Signal::Errors => self.errors.map(Limit::Rate),
            Signal::Attempts => self.attempts.map(Limit::Rate),
            Signal::ClientErrors => self.client_errors.map(Limit::Rate),
            Signal::Redirects => self.redirects.map(Limit::Rate),
            Signal::Aborted => self.aborted.map(Limit::Rate),
            Signal::Upgrades => self.upgrades.map(Limit::Rate),
            Signal::P50 => self.p50.map(Limit::Latency),
            Signal::P95 => self.p95.map(Limit::Latency),
            Signal::P99 => self.p99.map(Limit::Latency),
            Signal::WholeP95 => self.whole_p95.map(Limit::Latency),
            Signal::Slower => self.slower.map(Limit::Latency),
        }
    }
}

impl Limits {
    /// A signal's part of `alpha`; what belongs to signals that are off is shared by the others.
    pub fn alpha_of(&self, signal: Signal) -> f64 {
        let on = Signal::ALL.into_iter().filter(|signal| self.signals.limit(*signal).is_some());
        let all: f64 = on.map(Signal::weight).sum();
        self.alpha * signal.weight() / all.max(f64::MIN_POSITIVE)
    }
}
