//! `steps = ["1% 2m", "10% manual", "100%"]`: the shares in which the new version gets the traffic.

use std::fmt;

use cutover_core::deployment::{Hold, Step, Steps as Checked};
use cutover_core::fraction::{Percent, Share};
use serde::{Deserialize, Serialize};

use super::value::Duration;

/// What stands for a step that an operator ends.
const MANUAL: &str = "manual";

/// The steps of a group. The last one gives all of the traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Steps(Checked);

impl Steps {
    /// The steps for core.
    pub fn get(&self) -> Checked {
        self.0.clone()
    }

    /// The time of all steps but the last. `None`: one of them lasts until it is promoted.
    pub(super) fn timed(&self) -> Option<std::time::Duration> {
        self.0
            .iter()
            .map(|step| match step.hold {
                Hold::For(time) => Some(time),
                Hold::Manual => None,
            })
            .sum()
    }
}

impl TryFrom<Vec<String>> for Steps {
    type Error = String;

    fn try_from(texts: Vec<String>) -> Result<Self, String> {
        let Some((last, before)) = texts.split_last() else {
            return Err("steps = [] has no step, as in [\"10% 5m\", \"100%\"]".to_owned());
        };
        match percent(last.trim()) {
            Some(all) if all.parts() == Share::WHOLE => {}
            _ => {
                return Err(format!(
                    "the last step is \"100%\", and soak.duration says how long it is watched, but it is {last:?}"
                ));
            }
        }
        let steps = before.iter().map(|text| step(text)).collect::<Result<_, _>>()?;
        Checked::new(steps).map(Self).map_err(|error| error.to_string())
    }
}

impl From<Steps> for Vec<String> {
    fn from(steps: Steps) -> Self {
        let texts = steps.0.iter().map(|step| Shown(*step).to_string());
        texts.chain([format!("{}%", f64::from(Share::WHOLE) / 100.0)]).collect()
    }
}

fn step(text: &str) -> Result<Step, String> {
    let bad = || format!("step {text:?} is not a share and a time, as in \"10% 5m\" or \"10% {MANUAL}\"");
    let (share, hold) = text.trim().split_once(' ').ok_or_else(bad)?;
    let share = percent(share).ok_or_else(bad)?;
    let hold = match hold.trim() {
        MANUAL => Hold::Manual,
        time => Hold::For(time.parse::<Duration>().map_err(|_| bad())?.get()),
    };
    Ok(Step { share, hold })
}

fn percent(text: &str) -> Option<Percent> {
    Percent::try_from(text.strip_suffix('%')?.parse::<f64>().ok()?).ok()
}

struct Shown(Step);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Step { share, hold } = self.0;
        let percent = f64::from(share);
        match hold {
            Hold::For(time) => write!(f, "{percent}% {}", Duration::from(time)),
            Hold::Manual => write!(f, "{percent}% {MANUAL}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_written() {
        for (text, said) in [
            (r#"["100%"]"#, None),
            (r#"["1% 2m","10% manual","100%"]"#, None),
            (r#"["0.01% 500ms","100%"]"#, None),
            ("[]", Some("has no step")),
            (r#"["10% 5m"]"#, Some("the last step is \"100%\"")),
            (r#"["100% 5m"]"#, Some("soak.duration says how long")),
            (r#"["10%","100%"]"#, Some("step \"10%\" is not a share and a time")),
            (r#"["10 5m","100%"]"#, Some("step \"10 5m\" is not")),
            (r#"["10% soon","100%"]"#, Some("step \"10% soon\" is not")),
            (r#"["0.001% 5m","100%"]"#, Some("step \"0.001% 5m\" is not")),
            (r#"["0% 5m","100%"]"#, Some("more than 0 %")),
            (r#"["10% 5m","5% 5m","100%"]"#, Some("5 % comes after 10 %")),
            (r#"["100% 5m","100%"]"#, Some("less than 100 %")),
            (r#"["10% 0s","100%"]"#, Some("lasts no time")),
        ] {
            match (said, serde_json::from_str::<Steps>(text)) {
                (None, Ok(steps)) => assert_eq!(serde_json::to_string(&steps).unwrap(), text),
                (Some(said), Err(error)) => assert!(error.to_string().contains(said), "{text}: {error}"),
                (_, read) => panic!("{text}: {read:?}"),
            }
        }
    }
}
