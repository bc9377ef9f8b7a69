//! The vigil over a slot that has traffic while nothing is compared with it: no soak runs, or its soak is over.
//!
//! ```text
//! well --observe: a limit is broken, and that is proven--> Bad --enough good evidence, and nothing against it--> well
//! ```
//!
//! A vigil has no end, so it is a line of watches, each of a limited time. Each has a much smaller `alpha` than a soak, and
//! begins with the last reading of the one before, so nothing is lost between two.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::baseline::Baseline;
use super::evidence::Evidence;
use super::limits::{LatencyLimit, Limits, RateLimit, Signals};
use super::reading::{EdgeReading, Reading};
use super::reason::{Figures, Reason};
use super::watch::{Names, Verdict, Watch};

/// The probability of a false alarm of one watch. There are 52,560 in a year, so a slot that is at its limits all the time has a
/// false alarm in about a hundred years.
const ALPHA: f64 = 1e-7;

/// How long a watch lasts, if there are enough answers. A fault that begins late in a long watch takes longer to prove.
const LENGTH: Duration = Duration::from_secs(600);

/// How long a slot that was bad must be good.
const RECOVERY: Duration = Duration::from_secs(30);

/// When nothing says what is normal, a request may wait as long as in the most patient soak.
const PATIENCE: Duration = Duration::from_secs(30);

/// What has changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The slot has become bad.
    Bad(Reason),
    /// The slot is good again. The figures are from the time after it was last bad.
    Recovered(Figures),
}

/// Watches one slot for as long as it has traffic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Vigil {
    limits: Limits,
    names: Names,
    watch: Watch,
    /// When the watch began.
    begun: Option<Duration>,
    bad: Option<Reason>,
}

impl Vigil {
    /// Begins; the first reading that is observed is what the slot had counted before. The limits are those of a soak.
    pub fn new(limits: Limits, slot: &str) -> Self {
        let limits = alone(limits);
        let names = Names { new: slot.to_owned(), old: String::new() };
        let watch = Watch::new(limits.clone(), names.clone(), Baseline::default());
        Self { limits, names, watch, begun: None, bad: None }
    }

    /// Adds a reading, whose `new` is the slot, and returns what has changed with it.
    pub fn observe(&mut self, reading: &Reading) -> Option<Change> {
        let reading = of_one_slot(reading);
        self.watch.observe(&reading);
        let begun = *self.begun.get_or_insert(reading.at);
        if let Some(Verdict::Bad(why)) = self.watch.now() {
            self.renew(&reading);
            return self.bad.replace(why.clone()).is_none().then_some(Change::Bad(why));
        }
        if self.bad.is_some()
            && let Verdict::Good(figures) = self.watch.end()
        {
            self.bad = None;
            self.renew(&reading);
            return Some(Change::Recovered(figures));
        }
        // With little traffic a watch lasts longer, or it would never have enough answers. A clock that is set back begins one.
        let is_enough = self.watch.seen().answers().of >= self.limits.min_requests;
        if reading.at < begun || (is_enough && reading.at >= begun + LENGTH) {
            self.renew(&reading);
        }
        None
    }

    /// Why the slot is bad, as far as the last readings say. `None` while it is not.
    pub fn bad(&self) -> Option<&Reason> {
        self.bad.as_ref()
    }

    /// The figures of the last minutes: since the begin of the current watch.
    pub fn figures(&self) -> Figures {
        self.watch.figures()
    }

    /// What the slot did in the last minutes.
    pub fn seen(&self) -> &Evidence {
        self.watch.seen()
    }

    /// Begins a new watch with the last reading of the one before.
    fn renew(&mut self, reading: &Reading) {
        self.watch = Watch::new(self.limits.clone(), self.names.clone(), Baseline::default());
        self.watch.observe(reading);
        self.begun = Some(reading.at);
    }
}

/// The limits of a slot that is compared with nothing.
///
/// Errors, failed attempts and requests given up keep the limit that a soak uses when nothing is known about an old version:
/// `alone`, or `max` if that is more or if the operator wants no comparison. What was allowed to a first release is allowed later.
/// The other signals are on only if the operator has set an absolute limit for them: only a comparison says which part of the
/// answers of an interface is 404 or a redirect at night, how often clients reconnect, and what is slow.
fn alone(limits: Limits) -> Limits {
    let rate = |limit: RateLimit| {
        let max = if limit.times.is_some() { limit.max.max(limit.alone) } else { limit.max };
        RateLimit { max, times: None, alone: max }
    };
    let absolute = |limit: &RateLimit| limit.times.is_none();
    let fast = |limit: &LatencyLimit| limit.times.is_none();
    let Signals { errors, attempts, client_errors, redirects, aborted, upgrades, .. } = limits.signals;
    let Signals { p50, p95, p99, whole_p95, .. } = limits.signals;
    let signals = Signals {
        errors: errors.map(rate),
        attempts: attempts.map(rate),
        aborted: aborted.map(rate),
        client_errors: client_errors.filter(absolute),
        redirects: redirects.filter(absolute),
        upgrades: upgrades.filter(absolute),
        p50: p50.filter(fast),
        p95: p95.filter(fast),
        p99: p99.filter(fast),
        whole_p95: whole_p95.filter(fast),
        // Only a comparison at the same time has it.
        slower: None,
    };
    Limits {
        alpha: limits.alpha.min(ALPHA),
        min_time: limits.min_time.max(RECOVERY),
        patience: limits.patience.or(Some(PATIENCE)),
        signals,
        ..limits
    }
}

/// The reading without a slot to compare with.
fn of_one_slot(reading: &Reading) -> Reading {
    let edges = reading.edges.iter();
    let edges = edges.map(|EdgeReading { edge, new, .. }| EdgeReading {
        edge: edge.clone(),
        new: new.clone(),
        old: None,
    });
    Reading { at: reading.at, split: false, edges: edges.collect() }
}
