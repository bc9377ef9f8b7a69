//! The steps in which the new slot gets the traffic.
//!
//! Each step gives the new slot a share for a time, or until an operator promotes it. The last step is always all of the traffic,
//! for the time of the soak, so it is not in the list. A deployment without a list has only that step.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fraction::{Percent, Share};

/// The number of steps before the last one is limited, because each costs a record and a switch.
pub const MOST_STEPS: usize = 20;

/// How long a step lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// This long.
    For(Duration),
    /// Until an operator promotes it.
    Manual,
}

/// A step that gives the new slot a part of the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The new slot's share.
    pub share: Percent,
    /// How long it lasts.
    pub hold: Hold,
}

/// The steps before the last one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Step>", into = "Vec<Step>")]
pub struct Steps(Vec<Step>);

/// Why steps are not steps. The text is a whole clause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSteps {
    /// The share is nothing or all.
    #[error("a step before the last one gives more than 0 % and less than 100 %, and not {0}")]
    NoPart(Percent),
    /// The share is not larger than the one before it.
    #[error("each step gives more than the one before it, but {next} comes after {before}")]
    NotMore {
        /// The share before it.
        before: Percent,
        /// The share.
        next: Percent,
    },
    /// A step lasts no time.
    #[error("the step of {0} lasts no time")]
    NoTime(Percent),
    /// There are too many.
    #[error("there are {0} steps, and at most {MOST_STEPS} before the last one")]
    TooMany(usize),
}

impl Steps {
    /// Checks the steps before the last one: the shares grow.
    pub fn new(steps: Vec<Step>) -> Result<Self, BadSteps> {
        if steps.len() > MOST_STEPS {
            return Err(BadSteps::TooMany(steps.len()));
        }
        let mut before: Option<Percent> = None;
        for Step { share, hold } in &steps {
            if Share::new(share.parts()).is_none() {
                return Err(BadSteps::NoPart(*share));
            }
            if let Some(before) = before.filter(|before| share <= before) {
                return Err(BadSteps::NotMore { before, next: *share });
            }
            if *hold == Hold::For(Duration::ZERO) {
                return Err(BadSteps::NoTime(*share));
            }
            before = Some(*share);
        }
        Ok(Self(steps))
    }

    /// A step by its number, which counts from 0. `None`: all of the traffic.
    pub fn get(&self, number: usize) -> Option<&Step> {
        self.0.get(number)
    }

    /// The number of the last step.
    pub fn last(&self) -> usize {
        self.0.len()
    }

    /// The steps before the last one.
    pub fn iter(&self) -> impl Iterator<Item = &Step> {
        self.0.iter()
    }
}

impl TryFrom<Vec<Step>> for Steps {
    type Error = BadSteps;

    fn try_from(steps: Vec<Step>) -> Result<Self, BadSteps> {
        Self::new(steps)
    }
}

impl From<Steps> for Vec<Step> {
    fn from(steps: Steps) -> Self {
        steps.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(parts: u16, hold: Hold) -> Step {
        Step { share: Percent::from_parts(parts).unwrap(), hold }
    }

    #[test]
    fn shares_grow_and_each_step_lasts() {
        let minute = Hold::For(Duration::from_secs(60));
        for (steps, said) in [
            (vec![], None),
            (vec![step(100, minute), step(1_000, Hold::Manual)], None),
            (vec![step(0, minute)], Some("more than 0 % and less than 100 %, and not 0 %")),
            (vec![step(10_000, minute)], Some("and not 100 %")),
            (vec![step(1_000, minute), step(100, minute)], Some("1 % comes after 10 %")),
            (vec![step(100, minute), step(100, minute)], Some("1 % comes after 1 %")),
            (vec![step(100, Hold::For(Duration::ZERO))], Some("1 % lasts no time")),
            ((1..=21).map(|parts| step(parts, minute)).collect(), Some("21 steps")),
        ] {
            match (Steps::new(steps.clone()), said) {
                (Ok(made), None) => {
                    let json = serde_json::to_string(&made).unwrap();
                    assert_eq!(serde_json::from_str::<Steps>(&json).unwrap(), made);
                }
                (Err(error), Some(said)) => {
                    assert!(error.to_string().contains(said), "{error}");
                    let json = serde_json::to_string(&steps).unwrap();
                    assert!(serde_json::from_str::<Steps>(&json).is_err(), "{json}");
                }
                (made, said) => panic!("{steps:?}: {made:?}, {said:?}"),
            }
        }
    }
}
