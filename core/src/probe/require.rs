//! The number of servers of a slot that must be healthy before traffic moves there.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// How many primaries must be healthy, as in `"all"`, `"majority"`, `"one"` or `"80%"`. At least one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Require {
    /// All servers.
    #[default]
    All,
    /// More than half of the servers.
    Majority,
    /// One server.
    One,
    /// A percentage of the servers, rounded up: 1 to 100.
    Percent(u8),
}

impl Require {
    /// Whether `healthy` of `servers` are enough.
    pub fn is_met(self, healthy: usize, servers: usize) -> bool {
        healthy > 0
            && match self {
                Self::All => healthy >= servers,
                Self::Majority => healthy.saturating_mul(2) > servers,
                Self::One => true,
                Self::Percent(percent) => {
                    healthy.saturating_mul(100) >= servers.saturating_mul(usize::from(percent))
                }
            }
    }
}

impl fmt::Display for Require {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Majority => f.write_str("majority"),
            Self::One => f.write_str("one"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// A text that is none of the four forms.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a number of servers: expected \"all\", \"majority\", \"one\", or \"1%\" to \"100%\"")]
pub struct BadRequire(String);

impl FromStr for Require {
    type Err = BadRequire;

    fn from_str(text: &str) -> Result<Self, BadRequire> {
        match text {
            "all" => Ok(Self::All),
            "majority" => Ok(Self::Majority),
            "one" => Ok(Self::One),
            _ => {
                let digits = text.strip_suffix('%').map(str::trim_end);
                let percent = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()));
                let percent = percent.and_then(|digits| digits.parse().ok());
                match percent.filter(|percent| (1..=100).contains(percent)) {
                    Some(percent) => Ok(Self::Percent(percent)),
                    None => Err(BadRequire(text.to_owned())),
                }
            }
        }
    }
}

impl Serialize for Require {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Require {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_enough() {
        for (require, healthy, servers, met) in [
            (Require::All, 0, 0, false),
            (Require::All, 2, 2, true),
            (Require::All, 1, 2, false),
            (Require::Majority, 0, 1, false),
            (Require::Majority, 1, 1, true),
            (Require::Majority, 1, 2, false),
            (Require::Majority, 2, 3, true),
            (Require::One, 0, 3, false),
            (Require::One, 1, 3, true),
            (Require::Percent(80), 4, 5, true),
            (Require::Percent(80), 3, 5, false),
            (Require::Percent(80), 3, 4, false),
            (Require::Percent(1), 0, 5, false),
            (Require::Percent(1), 1, 500, false),
            (Require::Percent(1), 5, 500, true),
            (Require::Percent(100), 2, 2, true),
            (Require::Percent(100), 1, 2, false),
        ] {
            assert_eq!(require.is_met(healthy, servers), met, "{require} {healthy} of {servers}");
        }
    }

    #[test]
    fn as_text() {
        for text in ["all", "majority", "one", "1%", "80%", "100%"] {
            assert_eq!(text.parse::<Require>().unwrap().to_string(), text);
        }
        for text in ["", "All", "most", "0%", "101%", "80", "-1%", "+5%", "8O%", "%", "999999%"] {
            let error = text.parse::<Require>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("\"{text}\" is not a number of")), "{error}");
        }
    }
}
