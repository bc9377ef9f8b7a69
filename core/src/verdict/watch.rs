//! The watch over one release, from its first reading to the verdict.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::baseline::{Baseline, patience};
use super::evidence::Evidence;
use super::fold::Fold;
use super::judge::{Test, Turn};
use super::limits::Limits;
use super::outside::{Outside, OutsideLimit, OutsideReading};
use super::reading::{Reading, SYNTHETIC};
use super::reason::{Figures, OutsideFigure, Reason};
use super::signal::Signal;

/// Both slots are compared turn by turn; a turn lasts until each has so many answers, or so long.
const TURN: (u64, Duration) = (4, Duration::from_secs(5));

/// What reasons call the last seconds.
pub(super) const RECENT: Duration = Duration::from_secs(10);

/// A signal that comes so close to an alarm, as a part of it, is not good at the end.
const DOUBT: f64 = 0.1;

/// The slots, for reasons.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// The slot that is judged.
    pub new: String,
    /// The slot that it is compared with.
    pub old: String,
}

/// What the watch came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Enough evidence, and nothing against the version.
    Good(Figures),
    /// A limit is broken, and that is proven.
    Bad(Reason),
    /// Too little evidence, or evidence that is neither.
    Inconclusive(Reason),
}

/// The watch. Serialise it to go on after a restart: what was not read meanwhile is counted, but not as time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    pub(super) limits: Limits,
    pub(super) names: Names,
    folds: BTreeMap<String, Folds>,
    tests: BTreeMap<Signal, Test>,
    pub(super) new: Evidence,
    /// The old slot: before the switch, and while it had a share.
    pub(super) known: Evidence,
    turn: OpenTurn,
    times: Option<Times>,
    pub(super) left: u32,
    pub(super) recent: VecDeque<Recent>,
    broken: Option<Reason>,
    /// Signals from outside, in the order of their limits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) outside: Vec<Outside>,
    /// Whether nothing counts the answers, so that the signals from outside alone decide.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    uncounted: bool,
}

/// Both slots on one edge.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Folds {
    new: Fold,
    old: Fold,
}

/// What has come since the last turn.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct OpenTurn {
    since: Duration,
    split: bool,
    new: Evidence,
    old: Evidence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Times {
    begun: Duration,
    last: Duration,
    /// The begin of the readings without a gap.
    unbroken: Duration,
    /// How far the watch's clock is ahead of the caller's.
    ahead: Duration,
}

/// What the new slot did in a span of the last seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Recent {
    from: Duration,
    pub(super) new: Evidence,
}

impl Watch {
    /// Begins; the first reading that is observed is what both slots had counted before the switch.
    pub fn new(limits: Limits, names: Names, baseline: Baseline) -> Self {
        let on = Signal::ALL.into_iter().filter(|signal| limits.signals.limit(*signal).is_some());
        let tests = on.map(|signal| (signal, Test::new(signal, limits.alpha_of(signal)))).collect();
        Self {
            tests,
            limits,
            names,
            folds: BTreeMap::new(),
            new: Evidence::default(),
            known: baseline.evidence().clone(),
            turn: OpenTurn::default(),
            times: None,
            left: 0,
            recent: VecDeque::new(),
            broken: None,
            outside: Vec::new(),
            uncounted: false,
        }
    }

    /// The same watch, over signals from outside, too.
    pub fn with_outside(mut self, limits: impl IntoIterator<Item = OutsideLimit>) -> Self {
        self.outside = limits.into_iter().map(Outside::new).collect();
        self
    }

    /// Adds a reading.
    pub fn observe(&mut self, reading: &Reading) {
        let at = self.pass(reading.at);
        if self.turn.split && !reading.split {
            self.close(at);
            self.left += 1;
        }
        self.turn.split = reading.split;
        let patience = self.patience();
        for edge in &reading.edges {
            let folds = self.folds.entry(edge.edge.clone()).or_default();
            if let Some(sample) = &edge.new {
                let mut more = folds.new.observe(at, sample, patience);
                if edge.edge == SYNTHETIC {
                    more.synthetic = more.answers().of;
                }
                self.turn.new.add(&more);
                remember(&mut self.recent, at, &more);
            }
            if let Some(sample) = &edge.old {
                self.turn.old.add(&folds.old.observe(at, sample, patience));
            }
        }
        let (each, longest) = TURN;
        let enough = self.turn.new.answers().of >= each && self.turn.old.answers().of >= each;
        if !reading.split || enough || at >= self.turn.since + longest {
            self.close(at);
        }
    }

    /// The same watch where nothing counts answers: too few of them are no reason.
    pub fn uncounted(mut self, uncounted: bool) -> Self {
        self.uncounted = uncounted && !self.outside.is_empty();
        self
    }

    /// Adds a reading of the signal from outside with this name. It is on the clock of the other readings.
    pub fn observe_outside(&mut self, name: &str, reading: OutsideReading) {
        let (begun, ahead) =
            self.times.map_or((reading.at, Duration::ZERO), |times| (times.begun, times.ahead));
        let reading = OutsideReading { at: reading.at + ahead, ..reading };
        let tolerance = self.limits.tolerance;
        if let Some(signal) = self.outside.iter_mut().find(|signal| signal.name() == name) {
            signal.observe(&reading, begun, tolerance);
        }
        if self.broken.is_none() {
            self.broken = self.outside.iter().find_map(Outside::bad);
        }
    }

    /// Bad, as soon as it is proven.
    pub fn now(&self) -> Option<Verdict> {
        self.broken.clone().map(Verdict::Bad)
    }

    /// The verdict when the time is over, as of the last reading.
    pub fn end(&self) -> Verdict {
        // What is left of a turn counts, too.
        let mut whole = self.clone();
        if let Some(times) = self.times {
            whole.close(times.last);
        }
        whole.judge()
    }

    /// How long a request may wait for its answer to begin.
    pub fn patience(&self) -> Duration {
        self.limits.patience.unwrap_or_else(|| patience(&self.known))
    }

    /// The signals from outside as they were read last.
    pub fn outside(&self) -> impl Iterator<Item = OutsideFigure> + '_ {
        self.outside.iter().map(Outside::figure)
    }

    /// What the new slot did until now.
    pub fn seen(&self) -> &Evidence {
        &self.new
    }

    /// Whether both slots have traffic.
    pub(super) fn is_split(&self) -> bool {
        self.turn.split
    }

    fn judge(&self) -> Verdict {
        if let Some(reason) = &self.broken {
            return Verdict::Bad(reason.clone());
        }
        let answers = self.new.answers().of;
        let slot = self.names.new.clone();
        if answers - self.new.unanswered.min(answers) < self.limits.min_requests && !self.uncounted {
            if self.new.unanswered > 0 {
                return Verdict::Bad(self.hanging());
            }
            return Verdict::Inconclusive(Reason::TooFew { slot, answers, needed: self.limits.min_requests });
        }
        // Synthetic answers do not outvote users who all fail.
        let of_users = answers.saturating_sub(self.new.synthetic);
        if of_users < answers && of_users > 0 && self.new.bad >= of_users {
            return Verdict::Inconclusive(Reason::TooFew {
                slot,
                answers: of_users,
                needed: self.limits.min_requests,
            });
        }
        let watched = self.times.map_or(Duration::ZERO, |times| times.last.saturating_sub(times.unbroken));
        if watched < self.limits.min_time {
            return Verdict::Inconclusive(Reason::TooShort { watched, needed: self.limits.min_time });
        }
        let doubtful = self.tests.iter().find(|(_, test)| test.alarm() >= DOUBT);
        if let Some((signal, _)) = doubtful {
            return Verdict::Inconclusive(self.reason(*signal, false));
        }
        let now = self.times.map_or(Duration::ZERO, |times| times.last);
        match self.outside.iter().find_map(|signal| signal.doubt(now)) {
            Some(reason) => Verdict::Inconclusive(reason),
            None => Verdict::Good(self.figures()),
        }
    }

    /// The time of a reading on the watch's own clock. A clock that was set back, or began anew with the daemon, goes on from
    /// the last reading; how long that was is not known, so it is a gap.
    fn pass(&mut self, at: Duration) -> Duration {
        let times =
            self.times.get_or_insert(Times { begun: at, last: at, unbroken: at, ahead: Duration::ZERO });
        let set_back = at + times.ahead < times.last;
        if set_back {
            times.ahead = times.last.saturating_sub(at);
        }
        let at = at + times.ahead;
        if set_back || at > times.last + self.limits.gap {
            times.unbroken = at;
        }
        times.last = at;
        at
    }

    /// Ends a turn: all tests see it.
    fn close(&mut self, at: Duration) {
        let next = OpenTurn { since: at, split: self.turn.split, ..OpenTurn::default() };
        let turn = std::mem::replace(&mut self.turn, next);
        let begun = self.times.map_or(at, |times| times.begun);
        let facts = Turn {
            seconds: at.saturating_sub(begun).as_secs_f64(),
            split: turn.split,
            new: &turn.new,
            old: &turn.old,
            known: &self.known,
            left: self.left,
        };
        for (signal, test) in &mut self.tests {
            test.observe(*signal, &self.limits, &facts);
        }
        self.new.add(&turn.new);
        if turn.split {
            self.known.add(&turn.old);
        }
        if self.broken.is_none() {
            let enough = |signal: &Signal| self.bad_of(*signal) >= self.limits.min_bad;
            let alarms = self.tests.iter().filter(|(_, test)| test.alarm() >= 1.0).map(|(signal, _)| signal);
            let first = alarms.filter(|signal| enough(signal)).min();
            self.broken = first.map(|signal| self.reason(*signal, true));
        }
    }
}

/// Adds to the last seconds: a few spans, of which the old ones fall away.
fn remember(recent: &mut VecDeque<Recent>, at: Duration, more: &Evidence) {
    match recent.back_mut().filter(|last| at < last.from + RECENT / 5) {
        Some(last) => last.new.add(more),
        None => recent.push_back(Recent { from: at, new: more.clone() }),
    }
    while recent.front().is_some_and(|first| first.from + RECENT < at) {
        recent.pop_front();
    }
}
