//! The reasons and figures of a watch.

use std::time::Duration;

use super::evidence::Evidence;
use super::judge::{baseline_alpha, count, slow_from, spread};
use super::limits::{LatencyLimit, Limit, RateLimit};
use super::rate::raised_rate;
use super::reason::{Figures, Reason, Share, Speed};
use super::sequential::bernoulli::{Count, times_odds};
use super::sequential::interval::interval;
use super::signal::Signal;
use super::watch::{RECENT, Watch};
use crate::latency::lower_bound;

/// After how many answers the interval of a rate is narrowest. Fixed, or it would not hold at every moment.
const NARROWEST: f64 = 1_000.0;

impl Watch {
    /// How many bad ones there are of a signal.
    pub(super) fn bad_of(&self, signal: Signal) -> u64 {
        match self.limits.signals.limit(signal) {
            Some(Limit::Latency(limit)) => self.slow(signal, &limit, &self.new).map_or(0, |slow| slow.0.bad),
            _ => count(signal, &self.new).bad,
        }
    }

    /// Why a signal is broken, or doubtful.
    pub(super) fn reason(&self, signal: Signal, proven: bool) -> Reason {
        let mut recent = Evidence::default();
        self.recent.iter().for_each(|span| recent.add(&span.new));
        match self.limits.signals.limit(signal) {
            Some(Limit::Latency(limit)) => self.slow_reason(signal, &limit, &recent, proven),
            Some(Limit::Rate(limit)) => {
                let (whole, late) = (count(signal, &self.new), count(signal, &recent));
                let within = whole.ratio() < late.ratio().min(limit.max);
                let evidence = if within { &recent } else { &self.new };
                let old = count(signal, &self.known);
                Reason::Rate {
                    signal,
                    details: details(signal, evidence),
                    slow_from: None,
                    new: self.new_share(count(signal, evidence)),
                    old: self.old_share(old),
                    within: within.then_some(RECENT),
                    limit: self.allowed(signal, &limit, old),
                    proven,
                }
            }
            None => self.hanging(),
        }
    }

    fn slow_reason(&self, signal: Signal, limit: &LatencyLimit, recent: &Evidence, proven: bool) -> Reason {
        let quantile = signal.quantile().unwrap_or(0.5);
        let speed = |slot: &str, evidence: &Evidence| {
            let spread = spread(signal, evidence);
            let quantile = Duration::from_micros(spread.quantile_us(quantile)?);
            Some(Speed { slot: slot.to_owned(), quantile, answers: spread.count() })
        };
        let (new, old) = (speed(&self.names.new, &self.new), speed(&self.names.old, &self.known));
        let slow = self.slow(signal, limit, &self.new);
        if let (Some((whole, from)), Some((late, _))) = (slow, self.slow(signal, limit, recent))
            && whole.ratio() < late.ratio().min(1.0 - quantile)
        {
            // The quantile of the whole time is still in order.
            return Reason::Rate {
                signal,
                details: Vec::new(),
                slow_from: Some(from),
                new: self.new_share(late),
                old: None,
                within: Some(RECENT),
                limit: 1.0 - quantile,
                proven,
            };
        }
        let nothing = Speed { slot: self.names.new.clone(), quantile: Duration::ZERO, answers: 0 };
        Reason::Latency {
            signal,
            new: new.unwrap_or(nothing),
            old,
            max: limit.max,
            times: limit
                .times
                .map(|times| if self.is_split() { times } else { times * self.limits.tolerance }),
            proven,
        }
    }

    /// Slow ones, and from when on they are slow.
    fn slow(&self, signal: Signal, limit: &LatencyLimit, evidence: &Evidence) -> Option<(Count, Duration)> {
        let as_median = if signal == Signal::Slower { Signal::P50 } else { signal };
        let from = slow_from(as_median, limit, self.limits.tolerance, self.is_split(), &self.known)?.new;
        let spread = spread(signal, evidence);
        let count = Count { of: spread.count(), bad: spread.from_bucket(from) };
        Some((count, Duration::from_micros(lower_bound(from))))
    }

    pub(super) fn hanging(&self) -> Reason {
        Reason::Hanging {
            slot: self.names.new.clone(),
            unanswered: self.new.unanswered,
            patience: self.patience(),
            answers: self.new.answers().of.saturating_sub(self.new.unanswered),
        }
    }

    /// What the new slot did until now.
    pub fn figures(&self) -> Figures {
        let answers = self.new.answers();
        let quantile = |part| self.new.first_byte.quantile_us(part).map(Duration::from_micros);
        Figures {
            new: self.new_share(answers),
            synthetic: self.new.synthetic,
            at_most: interval(answers, self.limits.alpha, NARROWEST).1,
            attempts: self.new.attempts(),
            old: self.old_share(self.known.answers()),
            speed: quantile(0.5).zip(quantile(0.99)),
            upgrades: self.new.upgrades,
            outside: self.outside().collect(),
        }
    }

    /// What a rate may be, beside the old slot's.
    pub(super) fn allowed(&self, signal: Signal, limit: &RateLimit, old: Count) -> f64 {
        if self.is_split() {
            limit.max.max(limit.times.map_or(0.0, |times| times_odds(old.ratio(), times)))
        } else {
            let alpha = baseline_alpha(signal, &self.limits, self.left);
            raised_rate(limit, self.limits.tolerance, old, self.limits.min_requests, alpha)
        }
    }

    fn new_share(&self, count: Count) -> Share {
        Share { slot: self.names.new.clone(), count }
    }

    fn old_share(&self, count: Count) -> Option<Share> {
        (count.of > 0).then(|| Share { slot: self.names.old.clone(), count })
    }
}

/// What the bad ones were.
fn details(signal: Signal, evidence: &Evidence) -> Vec<String> {
    let some = |(what, count): (&str, u64)| (count > 0).then(|| format!("{count} times {what}"));
    match signal {
        Signal::Errors => {
            let statuses = evidence.server_errors.by_status().into_iter().filter_map(some);
            let rescued = Some(evidence.responses.rescued).filter(|count| *count > 0);
            let unanswered = Some(evidence.unanswered).filter(|count| *count > 0);
            statuses
                .chain(rescued.map(|count| format!("{count} rescued")))
                .chain(unanswered.map(|count| format!("{count} unanswered")))
                .collect()
        }
        Signal::Attempts => evidence.failures.by_reason().into_iter().filter_map(some).collect(),
        _ => Vec::new(),
    }
}
