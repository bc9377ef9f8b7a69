//! `warm = "1h"`, or `[group.NAME.warm]`: the window in which the old version stays up.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};

use super::value::Duration;

/// The warm window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Warm {
    /// How long the old version stays up and is probed after a completed deployment. Zero means that there is no warm window.
    pub duration: Duration,
    /// What happens when the new version turns bad in the window.
    pub on_bad: OnBad,
}

/// What happens when the new version turns bad after its soak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnBad {
    /// It is said: in the log, in a metric, in the status and in the history.
    #[default]
    Alert,
    /// The traffic goes back, and the database keeps its migration.
    Rollback,
}

#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub(super) struct Table {
    /// How long the old version stays up and is probed after a deployment. "0s": not at all.
    duration: Duration,
    /// What happens when the new version turns bad in this time.
    on_bad: OnBad,
}

impl Default for Warm {
    fn default() -> Self {
        Self { duration: Duration::seconds(3600), on_bad: OnBad::Alert }
    }
}

impl Default for Table {
    fn default() -> Self {
        let Warm { duration, on_bad } = Warm::default();
        Self { duration, on_bad }
    }
}

/// By hand: an untagged enum would say of a misspelt key only that nothing fits.
impl<'de> Deserialize<'de> for Warm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Warm;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration as in \"1h\", or { duration = \"1h\", on_bad = \"alert\" }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Warm, E> {
                Ok(Warm { duration: text.parse().map_err(E::custom)?, on_bad: OnBad::default() })
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Warm, A::Error> {
                let table = Table::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Warm { duration: table.duration, on_bad: table.on_bad })
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_written() {
        for (text, read) in [
            (r#""30m""#, Ok((1_800, OnBad::Alert))),
            (r#"{"on_bad":"rollback"}"#, Ok((3_600, OnBad::Rollback))),
            (r#"{"duration":"0s"}"#, Ok((0, OnBad::Alert))),
            (r#""soon""#, Err("\"soon\" is not a duration")),
            (r#"{"on_bad":"panic"}"#, Err("unknown variant `panic`")),
            (r#"{"time":"1h"}"#, Err("unknown field `time`")),
            ("3", Err("a duration as in \"1h\", or { duration")),
        ] {
            match (serde_json::from_str::<Warm>(text), read) {
                (Ok(warm), Ok((seconds, on_bad))) => {
                    assert_eq!((warm.duration.get().as_secs(), warm.on_bad), (seconds, on_bad), "{text}");
                    let json = serde_json::to_string(&warm).unwrap();
                    assert_eq!(serde_json::from_str::<Warm>(&json).unwrap(), warm);
                }
                (Err(error), Err(said)) => assert!(error.to_string().contains(said), "{text}: {error}"),
                (read, wanted) => panic!("{text}: {read:?}, not {wanted:?}"),
            }
        }
    }
}
