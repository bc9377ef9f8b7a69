//! The statuses that an answer may have: 200, "200-299", or a list of these.

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// One or more statuses or ranges of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statuses(Vec<RangeInclusive<u16>>);

impl Statuses {
    /// Whether this status is among them.
    pub fn contain(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }

    /// The first that is no status of HTTP.
    pub fn impossible(&self) -> Option<u16> {
        let ends = self.0.iter().flat_map(|range| [*range.start(), *range.end()]);
        ends.into_iter().find(|status| !(100..600).contains(status))
    }
}

impl From<RangeInclusive<u16>> for Statuses {
    fn from(range: RangeInclusive<u16>) -> Self {
        Self(vec![range])
    }
}

/// As in `200 or 300 to 399`.
impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, range) in self.0.iter().enumerate() {
            let or = if number > 0 { " or " } else { "" };
            match (range.start(), range.end()) {
                (start, end) if start == end => write!(f, "{or}{start}")?,
                (start, end) => write!(f, "{or}{start} to {end}")?,
            }
        }
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Raw {
    One(RawRange),
    Several(Vec<RawRange>),
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum RawRange {
    Status(u16),
    Range(String),
}

const RIGHT: &str = "200, \"200-299\" or [200, \"300-399\"]";

impl RawRange {
    fn of(range: &RangeInclusive<u16>) -> Self {
        match (range.start(), range.end()) {
            (start, end) if start == end => Self::Status(*start),
            (start, end) => Self::Range(format!("{start}-{end}")),
        }
    }

    fn parsed(self) -> Result<RangeInclusive<u16>, String> {
        let text = match self {
            Self::Status(status) => return Ok(status..=status),
            Self::Range(text) => text,
        };
        let ends = text.split_once('-').unwrap_or((&text, &text));
        match (ends.0.trim().parse(), ends.1.trim().parse()) {
            (Ok(start), Ok(end)) if start <= end => Ok(start..=end),
            _ => Err(format!("status \"{text}\" is not a status or a range, as in {RIGHT}")),
        }
    }
}

impl Serialize for Statuses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => RawRange::of(one).serialize(serializer),
            several => serializer.collect_seq(several.iter().map(RawRange::of)),
        }
    }
}

impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = |_| de::Error::custom(format!("status: expected {RIGHT}"));
        let ranges = match Raw::deserialize(deserializer).map_err(wrong)? {
            Raw::One(one) => vec![one],
            Raw::Several(several) if several.is_empty() => {
                return Err(de::Error::custom(format!("status has no status: expected {RIGHT}")));
            }
            Raw::Several(several) => several,
        };
        let ranges = ranges.into_iter().map(RawRange::parsed).collect::<Result<_, String>>();
        ranges.map(Self).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_a_range_or_a_list() {
        for (written, shown, passes, fails) in [
            (json!(200), "200", 200, 201),
            (json!("200-299"), "200 to 299", 299, 300),
            (json!("204"), "204", 204, 200),
            (json!([200, "300 - 399"]), "200 or 300 to 399", 302, 201),
        ] {
            let statuses: Statuses = serde_json::from_value(written.clone()).unwrap();
            assert_eq!(statuses.to_string(), shown);
            assert!(statuses.contain(passes) && !statuses.contain(fails), "{written}");
            let again = serde_json::to_value(&statuses).unwrap();
            assert_eq!(serde_json::from_value::<Statuses>(again).unwrap(), statuses, "{written}");
        }
    }

    #[test]
    fn what_is_none_says_what_would_be() {
        for (written, said) in [
            (json!("2xx"), "status \"2xx\" is not a status or a range, as in 200, \"200-299\""),
            (json!("299-200"), "status \"299-200\" is not a status or a range"),
            (json!(true), "status: expected 200, \"200-299\" or [200, \"300-399\"]"),
            (json!([]), "status has no status: expected 200"),
        ] {
            let error = serde_json::from_value::<Statuses>(written.clone()).unwrap_err().to_string();
            assert!(error.starts_with(said), "{written}: {error}");
        }
        let beyond: Statuses = serde_json::from_value(json!(["200-700"])).unwrap();
        assert_eq!(beyond.impossible(), Some(700));
    }
}
