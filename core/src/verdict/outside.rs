//! Signals from outside: values that another system measures, such as the result of a query of Prometheus.
//!
//! ```text
//!            counts from here                      3 readings or more, and `lasting` long
//! switch --- window ---|-- ok -- ok -- over -- over -- (no value) -- over --> bad
//! ```
//!
//! Nothing is known about the distribution of such a value, so no probability can be given for it. It is bad when each of its
//! readings is over the limit for a time. More readings in that time are more chances for one that is not over, so looking often
//! makes no false alarm. A reading without a value is neither good nor bad.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::numbers::{Time, Value};
use super::reason::{OutsideFigure, Reason};

/// Fewer readings than this prove nothing, however far they are apart.
pub const MIN_READINGS: u32 = 3;

/// What a value has to keep to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutsideLimit {
    /// Its name, for reasons.
    pub name: String,
    /// What is always allowed: finite.
    pub limit: f64,
    /// A value speaks about this time before it. One that speaks about the time before the switch does not count.
    pub window: Duration,
    /// For how long all readings must be over the limit.
    pub lasting: Duration,
    /// Longer than this without a value is a gap: nobody has watched.
    pub gap: Duration,
}

/// What a query has given.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// One number. NaN is no value.
    Value(f64),
    /// None, and the reason in one line.
    Nothing(String),
}

/// A reading of one signal.
#[derive(Clone, Debug, PartialEq)]
pub struct OutsideReading {
    /// When the query was sent, on the clock of the other readings.
    pub at: Duration,
    /// For the new version.
    pub new: Answer,
    /// For the old version. `None`: there is no comparison.
    pub old: Option<Answer>,
}

/// The state of one signal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Outside {
    limit: OutsideLimit,
    /// Readings that were over the limit, without one between them that was not.
    over: Streak,
    /// Readings with a value, without a gap.
    known: Streak,
    /// The last value that counts, and the old version's.
    last: Option<(Value, Option<Value>)>,
    /// Why the last reading had no value that counts.
    missing: Option<Missing>,
}

/// Why there is no value that counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Missing {
    /// There was no answer yet.
    Unasked,
    /// It speaks about the time before the switch.
    Early,
    /// There is none, and the reason.
    None(String),
}

/// Readings without a gap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Streak {
    readings: u32,
    since: Duration,
    last: Duration,
}

/// What one reading says.
enum Says {
    Fine(Value, Option<Value>),
    Over(Value, Option<Value>),
    /// Over the limit, and it is not known whether the old version is, too.
    Doubtful(String),
    Nothing(String),
}

impl Outside {
    pub(super) fn new(limit: OutsideLimit) -> Self {
        let missing = Some(Missing::Unasked);
        Self { limit, over: Streak::default(), known: Streak::default(), last: None, missing }
    }

    pub(super) fn name(&self) -> &str {
        &self.limit.name
    }

    /// Adds a reading. `switched`: when the new version got its first traffic.
    pub(super) fn observe(&mut self, reading: &OutsideReading, switched: Duration, tolerance: f64) {
        let at = reading.at;
        let says = self.limit.says(reading, tolerance);
        if at < switched + self.limit.window
            && let Says::Fine(..) | Says::Over(..) | Says::Doubtful(_) = says
        {
            self.missing = Some(Missing::Early);
            return;
        }
        match says {
            Says::Fine(value, old) => {
                self.over = Streak::default();
                self.seen(at, value, old);
            }
            Says::Over(value, old) => {
                self.over.extend(at, self.limit.gap);
                self.seen(at, value, old);
            }
            Says::Doubtful(why) => {
                self.known = Streak::default();
                self.missing = Some(Missing::None(why));
            }
            Says::Nothing(why) => self.missing = Some(Missing::None(why)),
        }
    }

    /// Why it is bad.
    pub(super) fn bad(&self) -> Option<Reason> {
        self.over.proves(self.limit.lasting).then(|| self.over_limit(true)).flatten()
    }

    /// Why it is not known to be good at `now`.
    pub(super) fn doubt(&self, now: Duration) -> Option<Reason> {
        if self.over.readings > 0 {
            return self.over_limit(false);
        }
        let is_fresh = now <= self.known.last + self.limit.gap;
        if is_fresh && self.known.proves(self.limit.lasting) {
            return None;
        }
        let OutsideLimit { name, window, lasting, .. } = self.limit.clone();
        Some(match &self.missing {
            Some(Missing::None(why)) => Reason::OutsideMissing { name, why: why.clone() },
            Some(Missing::Unasked | Missing::Early) | None => {
                Reason::OutsideShort { name, read: self.known.length(), needed: lasting, window }
            }
        })
    }

    /// For people.
    pub(super) fn figure(&self) -> OutsideFigure {
        OutsideFigure {
            name: self.limit.name.clone(),
            value: self.last.map(|(value, _)| value),
            old: self.last.and_then(|(_, old)| old),
            limit: self.limit.limit,
            is_over: self.over.readings > 0,
            missing: self.missing.as_ref().map(|missing| match missing {
                Missing::Unasked => "it was not asked yet".to_owned(),
                Missing::Early => {
                    format!("its window of {} reaches back before the switch", Time(self.limit.window))
                }
                Missing::None(why) => why.clone(),
            }),
        }
    }

    fn seen(&mut self, at: Duration, value: Value, old: Option<Value>) {
        self.known.extend(at, self.limit.gap);
        self.last = Some((value, old));
        self.missing = None;
    }

    fn over_limit(&self, proven: bool) -> Option<Reason> {
        let (value, old) = self.last?;
        let (name, limit, lasted) = (self.limit.name.clone(), self.limit.limit, self.over.length());
        Some(Reason::Outside { name, value, limit, lasted, old, proven })
    }
}

impl OutsideLimit {
    fn says(&self, reading: &OutsideReading, tolerance: f64) -> Says {
        let new = match &reading.new {
            Answer::Value(new) if new.is_nan() => {
                return Says::Nothing("it is NaN, as of nothing divided by nothing".to_owned());
            }
            Answer::Value(new) => *new,
            Answer::Nothing(why) => return Says::Nothing(why.clone()),
        };
        let is_over = new > self.limit;
        match &reading.old {
            None if is_over => Says::Over(Value(new), None),
            Some(Answer::Value(old)) if !old.is_nan() => {
                // The same as so many times the old value, unless that is negative.
                let allowed = old + old.abs() * (tolerance - 1.0);
                let (is_worse, new, old) = (new > allowed, Value(new), Some(Value(*old)));
                if is_over && is_worse { Says::Over(new, old) } else { Says::Fine(new, old) }
            }
            Some(other) if is_over => {
                let why = match other {
                    Answer::Nothing(why) => why,
                    Answer::Value(_) => "it is NaN",
                };
                let (new, limit) = (Value(new), Value(self.limit));
                Says::Doubtful(format!(
                    "it is {new}, above its limit {limit}, and the old version has no value to compare with: {why}"
                ))
            }
            _ => Says::Fine(Value(new), None),
        }
    }
}

impl Streak {
    fn extend(&mut self, at: Duration, gap: Duration) {
        if self.readings == 0 || at > self.last + gap {
            *self = Self { readings: 0, since: at, last: at };
        }
        self.readings = self.readings.saturating_add(1);
        self.last = at.max(self.last);
    }

    fn length(&self) -> Duration {
        self.last.saturating_sub(self.since)
    }

    fn proves(&self, lasting: Duration) -> bool {
        self.readings >= MIN_READINGS && self.length() >= lasting
    }
}
