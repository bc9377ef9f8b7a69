//! `capacity = "100%"`: how many healthy servers the new slot needs, as a share of those of the slot that has the traffic.

use std::fmt;

use cutover_core::fraction::{Percent, Share};
use serde::{Deserialize, Serialize};

/// A share of the healthy servers of the active slot, in 1/10000. Zero turns the guard off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Capacity(u16);

impl Capacity {
    /// The guard is off.
    pub const OFF: Self = Self(0);

    /// Whether the guard is off.
    pub fn is_off(self) -> bool {
        self.0 == 0
    }

    /// The number of healthy servers that the new slot needs, while the active slot has this many. Rounded up.
    pub fn of(self, active: usize) -> usize {
        active.saturating_mul(usize::from(self.0)).div_ceil(usize::from(Share::WHOLE))
    }
}

impl Default for Capacity {
    fn default() -> Self {
        Self(Share::WHOLE)
    }
}

impl TryFrom<String> for Capacity {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let number = if text == "0" { Some("0") } else { text.strip_suffix('%') };
        let percent = number.and_then(|number| number.parse::<f64>().ok());
        let percent = percent.and_then(|percent| Percent::try_from(percent).ok());
        percent.map(|percent| Self(percent.parts())).ok_or_else(|| {
            format!(
                "capacity {text:?} is not a share of the healthy servers of the active slot, as in \"100%\" or \"50%\"; \
                 \"0\" turns the guard off"
            )
        })
    }
}

impl From<Capacity> for String {
    fn from(capacity: Capacity) -> Self {
        capacity.to_string()
    }
}

/// Text as in the configuration.
impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_off() {
            true => f.write_str("0"),
            false => write!(f, "{}%", f64::from(self.0) / 100.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Capacity, String> {
        text.to_owned().try_into()
    }

    #[test]
    fn as_written() {
        for text in ["100%", "50%", "33.33%", "0"] {
            assert_eq!(parsed(text).unwrap().to_string(), text);
        }
        assert!(parsed("0%").unwrap().is_off());
        assert_eq!(Capacity::default().to_string(), "100%");
        for text in ["", "50", "101%", "-1%", "half", "0.001%", "1"] {
            let why = parsed(text).unwrap_err();
            assert!(why.contains(&format!("{text:?} is not a share")) && why.contains("\"0\""), "{why}");
        }
    }

    #[test]
    fn a_part_of_a_server_is_a_server() {
        for (text, active, wanted) in [
            ("100%", 0, 0),
            ("100%", 3, 3),
            ("50%", 3, 2),
            ("50%", 4, 2),
            ("1%", 1, 1),
            ("99.99%", 2, 2),
            ("0", 9, 0),
        ] {
            assert_eq!(parsed(text).unwrap().of(active), wanted, "{text} of {active}");
        }
    }
}
