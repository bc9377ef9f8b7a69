//! Why a version was judged as it was: one line for people, and the figures as fields.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::numbers::{Percent, Plain, Thousands, Time, Value};
use super::sequential::bernoulli::Count;
use super::signal::Signal;

/// What decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// Too many bad ones.
    Rate {
        /// Of which kind.
        signal: Signal,
        /// What they were, as in `12 times 502`.
        details: Vec<String>,
        /// Slow means from this on, of a signal that is a latency.
        slow_from: Option<Duration>,
        /// The new version's.
        new: Share,
        /// The old version's.
        old: Option<Share>,
        /// Only the last seconds count: the whole time was better.
        within: Option<Duration>,
        /// What is allowed, after a comparison with the old version.
        limit: f64,
        /// Whether it is proven; otherwise it is a suspicion.
        proven: bool,
    },
    /// Too slow.
    Latency {
        /// Which quantile.
        signal: Signal,
        /// The new version's.
        new: Speed,
        /// The old version's.
        old: Option<Speed>,
        /// What is always allowed.
        max: Duration,
        /// How many times the old version's.
        times: Option<f64>,
        /// Whether it is proven; otherwise it is a suspicion.
        proven: bool,
    },
    /// Requests that get no answer, and too few that do.
    Hanging {
        /// The slot.
        slot: String,
        /// Requests that have waited for longer than the patience.
        unanswered: u64,
        /// How long that is.
        patience: Duration,
        /// Answers.
        answers: u64,
    },
    /// Too few answers.
    TooFew {
        /// The slot.
        slot: String,
        /// Answers.
        answers: u64,
        /// How many prove something.
        needed: u64,
    },
    /// Not watched for long enough without a gap.
    TooShort {
        /// Since the last gap in the readings.
        watched: Duration,
        /// How long is enough.
        needed: Duration,
    },
    /// A value of another system is over its limit.
    Outside {
        /// The name of the signal.
        name: String,
        /// The last value.
        value: Value,
        /// What is always allowed.
        limit: f64,
        /// For how long each reading has been over it.
        lasted: Duration,
        /// The old version's value, if it is compared.
        old: Option<Value>,
        /// Whether that is long enough; otherwise it is a suspicion.
        proven: bool,
    },
    /// A signal from outside has no value.
    OutsideMissing {
        /// The name of the signal.
        name: String,
        /// Why there is none.
        why: String,
    },
    /// A signal from outside has not had values for long enough.
    OutsideShort {
        /// The name of the signal.
        name: String,
        /// How long it had values that count, without a gap.
        read: Duration,
        /// How long is enough.
        needed: Duration,
        /// How long after the switch values begin to count.
        window: Duration,
    },
}

/// Bad ones of one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The slot.
    pub slot: String,
    /// How many are bad.
    #[serde(flatten)]
    pub count: Count,
}

/// A latency of one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Speed {
    /// The slot.
    pub slot: String,
    /// The quantile, off by 6 % at most.
    pub quantile: Duration,
    /// Of how many answers.
    pub answers: u64,
}

/// The figures of a version that is good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Bad answers of the new version.
    pub new: Share,
    /// The part of its answers that the daemon asked for itself.
    #[serde(default)]
    pub synthetic: u64,
    /// The rate of bad answers is below this, with a probability of `1 - alpha`.
    pub at_most: f64,
    /// Failed attempts.
    pub attempts: Count,
    /// Answers of the old version, if they are known.
    pub old: Option<Share>,
    /// Median and 99th percentile of first bytes.
    pub speed: Option<(Duration, Duration)>,
    /// Upgraded connections.
    pub upgrades: u64,
    /// Signals from outside.
    #[serde(default, rename = "signals", skip_serializing_if = "Vec::is_empty")]
    pub outside: Vec<OutsideFigure>,
}

/// A signal from outside, as it was read last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutsideFigure {
    /// Its name.
    pub name: String,
    /// The last value that counts.
    pub value: Option<Value>,
    /// The old version's.
    pub old: Option<Value>,
    /// What is always allowed.
    pub limit: f64,
    /// Whether the last reading with a value was over the limit, and worse than the old version.
    pub is_over: bool,
    /// Why the last reading had no value.
    pub missing: Option<String>,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rate { signal, details, slow_from, new, old, within, limit, proven } => {
                if let Some(within) = within {
                    write!(f, "in the last {}: ", Time(*within))?;
                }
                let (noun, what) = words(*signal, *slow_from);
                let Count { of, bad } = new.count;
                let (bad, of, percent) = (Thousands(bad), Thousands(of), Percent(new.count.ratio()));
                write!(f, "{bad} of {of} {noun} of {} {what}, {percent}", new.slot)?;
                if !details.is_empty() {
                    write!(f, " ({})", details.join(", "))?;
                }
                if let Some(Share { slot, count }) = old {
                    let (bad, of, percent) =
                        (Thousands(count.bad), Thousands(count.of), Percent(count.ratio()));
                    write!(f, "; of {slot} {bad} of {of}, {percent}")?;
                }
                write!(f, "; limit: {}", Percent(*limit))?;
                doubt(f, *proven)
            }
            Self::Latency { signal, new, old, max, times, proven } => {
                write!(f, "{signal} of {} {}", new.slot, Time(new.quantile))?;
                let answers = Thousands(new.answers);
                match old {
                    Some(old) => {
                        let (quantile, of_old) = (Time(old.quantile), Thousands(old.answers));
                        write!(f, ", of {} {quantile} ({answers} and {of_old} answers)", old.slot)?;
                    }
                    None => write!(f, " ({answers} answers)")?,
                }
                match times {
                    Some(times) => write!(f, "; limit: {} times, or {}", Plain(*times), Time(*max))?,
                    None => write!(f, "; limit: {}", Time(*max))?,
                }
                doubt(f, *proven)
            }
            Self::Hanging { slot, unanswered, patience, answers } => write!(
                f,
                "requests to {slot} that were not answered within {}: {}; answered: {}",
                Time(*patience),
                Thousands(*unanswered),
                Thousands(*answers)
            ),
            Self::TooFew { slot, answers, needed } => {
                let noun = if *answers == 1 { "answer" } else { "answers" };
                let (answers, needed) = (Thousands(*answers), Thousands(*needed));
                write!(f, "only {answers} {noun} of {slot}, of {needed} that prove something")
            }
            Self::TooShort { watched, needed } => {
                let (watched, needed) = (Time(*watched), Time(*needed));
                write!(
                    f,
                    "watched for {watched} since the last gap in the readings, of {needed} that prove something"
                )
            }
            Self::Outside { name, value, limit, lasted, old, proven } => {
                write!(f, "signal \"{name}\" is {value}, above its limit {}", Value(*limit))?;
                match lasted.is_zero() {
                    true => f.write_str(", at its last reading")?,
                    false => write!(f, ", for {}", Time(*lasted))?,
                }
                if let Some(old) = old {
                    write!(f, "; the old version: {old}")?;
                }
                doubt(f, *proven)
            }
            Self::OutsideMissing { name, why } => write!(f, "signal \"{name}\" has no value: {why}"),
            Self::OutsideShort { name, read, needed, window } => {
                let (read, needed, window) = (read.as_secs_f64(), Time(*needed), Time(*window));
                write!(
                    f,
                    "signal \"{name}\" has had values for {} s, of {needed} that prove something; they count from {window} \
                     after the switch on",
                    Plain(read)
                )
            }
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Count { of, bad } = self.new.count;
        write!(f, "{} answers of {}", Thousands(of), self.new.slot)?;
        if self.synthetic > 0 {
            write!(f, ", {} of them synthetic", Thousands(self.synthetic))?;
        }
        write!(f, ", {} of them errors", Thousands(bad))?;
        write!(f, " (at most {})", Percent(self.at_most))?;
        let Count { of, bad } = self.attempts;
        write!(f, "; {} attempts, {} of them failed", Thousands(of), Thousands(bad))?;
        if self.upgrades > 0 {
            write!(f, "; {} upgraded connections", Thousands(self.upgrades))?;
        }
        if let Some((p50, p99)) = self.speed {
            write!(f, "; p50 {}, p99 {}", Time(p50), Time(p99))?;
        }
        if let Some(Share { slot, count }) = &self.old {
            let (of, bad) = (Thousands(count.of), Thousands(count.bad));
            write!(f, "; of {slot} {of} answers, {bad} of them errors")?;
        }
        self.outside.iter().try_for_each(|figure| write!(f, "; {figure}"))
    }
}

impl fmt::Display for OutsideFigure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value, old, limit, is_over, missing } = self;
        write!(f, "signal \"{name}\"")?;
        if let Some(value) = value {
            let over = if *is_over { ", over it" } else { "" };
            write!(f, " {value} (limit {}{over}", Value(*limit))?;
            if let Some(old) = old {
                write!(f, "; the old version {old}")?;
            }
            f.write_str(")")?;
        }
        match missing {
            Some(why) if value.is_some() => write!(f, ", now without a value: {why}"),
            Some(why) => write!(f, " without a value: {why}"),
            None => Ok(()),
        }
    }
}

fn words(signal: Signal, slow_from: Option<Duration>) -> (&'static str, String) {
    match signal {
        Signal::Errors => ("answers", "are errors".to_owned()),
        Signal::Attempts => ("attempts", "failed".to_owned()),
        Signal::ClientErrors => ("answers", "are 4xx".to_owned()),
        Signal::Redirects => ("answers", "are 3xx".to_owned()),
        Signal::Aborted => ("requests", "were given up by the client".to_owned()),
        Signal::Upgrades => ("upgraded connections", "closed at once".to_owned()),
        Signal::P50 | Signal::P95 | Signal::P99 | Signal::WholeP95 | Signal::Slower => {
            ("answers", format!("took {} or more", Time(slow_from.unwrap_or_default())))
        }
    }
}

fn doubt(f: &mut fmt::Formatter<'_>, proven: bool) -> fmt::Result {
    if proven { Ok(()) } else { f.write_str("; not proven") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(slot: &str, bad: u64, of: u64) -> Share {
        Share { slot: slot.to_owned(), count: Count { of, bad } }
    }

    #[test]
    fn one_line_with_the_figures_of_both() {
        let speed = |slot: &str, us, answers| Speed {
            slot: slot.to_owned(),
            quantile: Duration::from_micros(us),
            answers,
        };
        let reason = Reason::Latency {
            signal: Signal::P99,
            new: speed("green", 1_210_000, 412),
            old: Some(speed("blue", 8_020, 9_310)),
            max: Duration::from_millis(200),
            times: Some(3.0),
            proven: true,
        };
        assert_eq!(
            reason.to_string(),
            "p99 of green 1.2 s, of blue 8 ms (412 and 9,310 answers); limit: 3 times, or 200 ms"
        );
        let reason = Reason::Rate {
            signal: Signal::Errors,
            details: vec!["12 times 502".to_owned(), "8 unanswered".to_owned()],
            slow_from: None,
            new: share("green", 20, 412),
            old: Some(share("blue", 9, 9_310)),
            within: None,
            limit: 0.01,
            proven: true,
        };
        let text = "20 of 412 answers of green are errors, 4.85 % (12 times 502, 8 unanswered); of blue 9 of 9,310, 0.1 %; \
                    limit: 1 %";
        assert_eq!(reason.to_string(), text);
        let json = serde_json::to_string(&reason).unwrap();
        assert_eq!(serde_json::from_str::<Reason>(&json).unwrap(), reason);
        assert!(
            json.contains(r#""reason":"rate""#) && json.contains(r#""slot":"green","of":412,"bad":20"#),
            "{json}"
        );
    }
}
