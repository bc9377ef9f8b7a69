//! The test of one signal: which evidence it looks at, beside what.

use serde::{Deserialize, Serialize};

use super::evidence::Evidence;
use super::limits::{LatencyLimit, Limit, Limits, RateLimit};
use super::rate::{Beside, RateTest, raised, raised_rate};
use super::sequential::bernoulli::Count;
use super::sequential::histogram::{self, Allowed};
use super::sequential::starts::Starts;
use super::signal::Signal;
use super::spread::Spread;
use crate::latency::{bucket_of, lower_bound};

/// What happened since the last turn.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'a> {
    /// Seconds since the watch began.
    pub seconds: f64,
    /// Whether the old slot had a share of the traffic.
    pub split: bool,
    /// The evidence about the new slot.
    pub new: &'a Evidence,
    /// The evidence about the old slot, of the same time.
    pub old: &'a Evidence,
    /// What was known of the old slot before.
    pub known: &'a Evidence,
    /// How many times the old slot has lost its share: each has its own bound of what the old slot does.
    pub left: u32,
}

/// The test of one signal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Test {
    /// Of a rate, or of the part of the answers that are slower than a quantile allows.
    Rate(RateTest),
    /// Of a whole distribution.
    Slower(Starts, f64),
}

impl Test {
    /// A new test with this part of `alpha`.
    pub fn new(signal: Signal, alpha: f64) -> Self {
        match signal {
            Signal::Slower => Self::Slower(Starts::new(alpha, histogram::weights()), alpha),
            _ => Self::Rate(RateTest::new(alpha)),
        }
    }

    /// Adds a turn.
    pub fn observe(&mut self, signal: Signal, limits: &Limits, turn: &Turn<'_>) {
        match (self, limits.signals.limit(signal)) {
            (Self::Rate(test), Some(Limit::Rate(limit))) => {
                let beside = beside_rate(signal, &limit, limits, turn);
                test.observe(turn.seconds, count(signal, turn.new), beside);
            }
            (Self::Rate(test), Some(Limit::Latency(limit))) => {
                if let Some((slow, beside)) = beside_latency(signal, &limit, limits, turn) {
                    test.observe(turn.seconds, slow, beside);
                }
            }
            (Self::Slower(starts, _), Some(Limit::Latency(limit))) => {
                starts.reach(turn.seconds, histogram::weights());
                if turn.split {
                    starts.multiply(slower(&limit, turn));
                }
            }
            _ => {}
        }
    }

    /// How close it is to an alarm: 1 is one.
    pub fn alarm(&self) -> f64 {
        match self {
            Self::Rate(test) => test.alarm(),
            Self::Slower(starts, alpha) => starts.value() * alpha,
        }
    }
}

/// The bad ones of a signal that is a rate.
pub fn count(signal: Signal, evidence: &Evidence) -> Count {
    match signal {
        Signal::Errors => evidence.answers(),
        Signal::Attempts => evidence.attempts(),
        Signal::ClientErrors => evidence.client_errors(),
        Signal::Redirects => evidence.redirects(),
        Signal::Aborted => evidence.aborted(),
        Signal::Upgrades => evidence.upgrades(),
        Signal::P50 | Signal::P95 | Signal::P99 | Signal::WholeP95 | Signal::Slower => Count::default(),
    }
}

/// The latencies that a signal looks at.
pub fn spread(signal: Signal, evidence: &Evidence) -> &Spread {
    match signal {
        Signal::WholeP95 => &evidence.whole,
        _ => &evidence.first_byte,
    }
}

fn beside_rate(signal: Signal, limit: &RateLimit, limits: &Limits, turn: &Turn<'_>) -> Beside {
    if turn.split {
        Beside::Split { old: count(signal, turn.old), limit: limit.max, times: limit.times }
    } else {
        let (known, alpha) = (count(signal, turn.known), baseline_alpha(signal, limits, turn.left));
        Beside::Alone { limit: raised_rate(limit, limits.tolerance, known, limits.min_requests, alpha) }
    }
}

/// The first bound that is made of the old slot gets half, the next one a quarter.
pub(super) fn baseline_alpha(signal: Signal, limits: &Limits, left: u32) -> f64 {
    limits.alpha_of(signal) * 0.5f64.powi(i32::try_from(left).unwrap_or(i32::MAX) + 1)
}

/// Slow answers of the new slot, and what is allowed. A quantile is over its limit when more than its rest is slower than that
/// limit, so this is a rate again.
fn beside_latency(
    signal: Signal,
    limit: &LatencyLimit,
    limits: &Limits,
    turn: &Turn<'_>,
) -> Option<(Count, Beside)> {
    let new = spread(signal, turn.new);
    let slow = slow_from(signal, limit, limits.tolerance, turn.split, turn.known)?;
    let count = Count { of: new.count(), bad: new.from_bucket(slow.new) };
    let rest = 1.0 - signal.quantile()?;
    let Some(from) = slow.old else { return Some((count, Beside::Alone { limit: rest })) };
    let of_old = |evidence: &Evidence| {
        let old = spread(signal, evidence);
        Count { of: old.count(), bad: old.from_bucket(from) }
    };
    let beside = if turn.split {
        Beside::Split { old: of_old(turn.old), limit: rest, times: Some(1.0) }
    } else {
        let allowed = RateLimit { max: rest, times: Some(1.0), alone: 1.0 };
        let alpha = baseline_alpha(signal, limits, turn.left);
        Beside::Alone { limit: raised(&allowed, 1.0, of_old(turn.known), limits.min_requests, alpha) }
    };
    Some((count, beside))
}

/// From which buckets on answers are slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slow {
    /// For the new slot.
    pub new: usize,
    /// For the old slot, when there is a comparison: faster by what is allowed.
    pub old: Option<usize>,
}

/// What a latency's limit means now. `None`: it is not known yet.
pub fn slow_from(
    signal: Signal,
    limit: &LatencyLimit,
    tolerance: f64,
    split: bool,
    known: &Evidence,
) -> Option<Slow> {
    let max = limit.max.as_micros() as u64;
    let Some(times) = limit.times else { return Some(Slow { new: bucket_of(max) + 1, old: None }) };
    let times = if split { times } else { times * tolerance };
    let quantile = spread(signal, known).quantile(signal.quantile()?)?;
    let allowed = (lower_bound(quantile + 1) as f64 * times).ceil() as u64;
    // The first bucket that is slower as a whole.
    let new = bucket_of(allowed.max(max).saturating_sub(1)) + 1;
    Some(Slow { new, old: Some(bucket_of((lower_bound(new) as f64 / times) as u64)) })
}

fn slower(limit: &LatencyLimit, turn: &Turn<'_>) -> [f64; histogram::FACTORS.len()] {
    let Some(times) = limit.times else { return [0.0; histogram::FACTORS.len()] };
    let allowed = Allowed { times, max_us: limit.max.as_micros() as u64 };
    histogram::log_ratios(&turn.new.first_byte, &turn.old.first_byte, &turn.known.first_byte, allowed)
}
