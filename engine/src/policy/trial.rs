//! `[group.NAME.trial]`: when nginx takes a bad version back by itself.

use std::fmt;

use cutover_core::api::GuardTerms;
use cutover_core::counters::Counters;
use cutover_core::fraction::Fraction;
use cutover_core::guard::Guard as Limits;
use cutover_core::trial::{MAX_LEASE_MS, MIN_LEASE_MS};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::value::{Count, Duration, Ratio, not_zero};

/// The lease that a group has unless its policy says otherwise.
const LEASE: Duration = Duration::seconds(30);
/// How a lease is written that is none.
const OFF: &str = "off";

/// A derived guard acts on no fewer requests.
const MIN_REQUESTS: u32 = 10;
/// A derived guard looks back this far, in milliseconds.
const WINDOW_MS: u32 = 10_000;
/// A derived guard stops what is plainly broken. Smaller differences are for the soak's verdict.
const PLAINLY_BROKEN: f64 = 0.2;
/// A derived guard allows this many times the limit of the soak, and this many times the errors of the old version.
const FACTOR: f64 = 3.0;

/// When nginx takes a bad version back by itself, during the soak.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Trial {
    /// Without news for this long, nginx takes the traffic back. `"off"`: never.
    #[serde(serialize_with = "write_lease", deserialize_with = "read_lease")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "super::schema::lease"))]
    pub lease: Option<Duration>,
    /// Too many failed requests take the traffic back. `true`: the limit is derived from the soak's and from the errors of the old
    /// version. `false`: there is none. A table sets it.
    pub guard: Guard,
    /// Whether a failed request is tried again on the old slot. Absent: if all servers of a slot must be healthy. With fewer,
    /// nginx tries the slot's other servers first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rescue: Option<bool>,
}

/// The guard of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Guard {
    /// `true`: derived from the limits of the soak and the errors of the old version. `false`: none.
    Switch(bool),
    /// These limits.
    Limits(GuardLimits),
}

/// The limits of a guard.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct GuardLimits {
    /// Fewer finished requests in the window are no reason.
    pub min_requests: Count,
    /// The largest share of the requests that may fail.
    pub max_error_ratio: Ratio,
    /// How far back the guard looks.
    #[serde(deserialize_with = "not_zero")]
    pub window: Duration,
}

/// By hand: an untagged enum would say of a misspelt key only that nothing fits.
impl<'de> Deserialize<'de> for Guard {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Guard;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or { min_requests = .., max_error_ratio = .., window = \"..\" }")
            }

            fn visit_bool<E: de::Error>(self, on: bool) -> Result<Guard, E> {
                Ok(Guard::Switch(on))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Guard, A::Error> {
                let limits = GuardLimits::deserialize(de::value::MapAccessDeserializer::new(map))?;
                limits.check().map_err(de::Error::custom)?;
                Ok(Guard::Limits(limits))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl GuardLimits {
    /// nginx refuses what is outside its limits, but only at the switch.
    fn check(&self) -> Result<(), String> {
        let window = self.window.get().as_millis();
        if !(u128::from(Limits::MIN_WINDOW_MS)..=u128::from(Limits::MAX_MS)).contains(&window) {
            return Err(format!("the guard's window \"{}\" is not from \"100ms\" to \"1h\"", self.window));
        }
        let requests = self.min_requests.get();
        if requests > Limits::MAX_REQUESTS {
            return Err(format!(
                "the guard's min_requests {requests} is not from 1 to {}",
                Limits::MAX_REQUESTS
            ));
        }
        Ok(())
    }
}

impl Default for Trial {
    fn default() -> Self {
        Self { lease: Some(LEASE), guard: Guard::Switch(true), rescue: None }
    }
}

impl Guard {
    /// The terms for nginx. `limit` is the soak's largest share of errors, `old` the answers of the old version. `None`: the old
    /// version fails so often that a guard would only go back to more failures.
    pub fn terms(self, limit: f64, old: &Counters) -> Option<GuardTerms> {
        match self {
            Self::Switch(false) => None,
            Self::Switch(true) => {
                let answers = old.answered();
                let is_known = answers >= u64::from(MIN_REQUESTS);
                let before = if is_known { old.errors() as f64 / answers as f64 } else { 0.0 };
                let ratio = PLAINLY_BROKEN.max(FACTOR * limit).max(FACTOR * before);
                (ratio < 1.0).then(|| terms(MIN_REQUESTS, ratio, WINDOW_MS))?
            }
            Self::Limits(GuardLimits { min_requests, max_error_ratio, window }) => {
                let window_ms = u32::try_from(window.get().as_millis()).unwrap_or(u32::MAX);
                terms(min_requests.get(), max_error_ratio.get(), window_ms)
            }
        }
    }
}

fn terms(min_requests: u32, ratio: f64, window_ms: u32) -> Option<GuardTerms> {
    let parts = (ratio * 10_000.0).round().clamp(0.0, 10_000.0) as u16;
    let max_error_ratio = Some(Fraction::from_parts(parts)?);
    Some(GuardTerms { min_requests, max_error_ratio, window_ms, max_slow_ratio: None, slow_ms: None })
}

fn write_lease<S: Serializer>(lease: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match lease {
        Some(lease) => lease.serialize(serializer),
        None => serializer.serialize_str(OFF),
    }
}

fn read_lease<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text == OFF {
        return Ok(None);
    }
    let lease: Duration = text.parse().map_err(de::Error::custom)?;
    let milliseconds = lease.get().as_millis();
    if !(u128::from(MIN_LEASE_MS)..=u128::from(MAX_LEASE_MS)).contains(&milliseconds) {
        return Err(de::Error::custom(format!(
            "\"{text}\" is not a lease: expected \"100ms\" to \"1day\", or \"off\""
        )));
    }
    Ok(Some(lease))
}

#[cfg(test)]
mod tests {
    use cutover_core::counters::Responses;

    use super::*;

    fn old(good: u64, errors: u64) -> Counters {
        let responses = Responses { success: good, server_error: errors, ..Responses::default() };
        Counters { requests: good + errors, responses, ..Counters::default() }
    }

    #[test]
    fn a_guard_allows_what_the_old_version_does_too() {
        for (limit, good, errors, allowed) in [
            (0.01, 1000, 0, Some(2_000)),
            (0.1, 1000, 0, Some(3_000)),
            (0.01, 970, 30, Some(2_000)),
            (0.01, 90, 10, Some(3_000)),
            (0.01, 50, 50, None),
            (0.01, 1, 1, Some(2_000)),
        ] {
            let terms = Guard::Switch(true).terms(limit, &old(good, errors));
            let parts = terms.and_then(|terms| terms.max_error_ratio).map(Fraction::parts);
            assert_eq!(parts, allowed, "limit {limit}, old {good} good and {errors} bad");
        }
        assert_eq!(Guard::Switch(false).terms(0.01, &old(100, 0)), None);
    }

    #[test]
    fn as_written() {
        for (text, said) in [
            (r#"{"lease":"off","guard":false,"rescue":false}"#, None),
            (r#"{"lease":"45s","guard":{"min_requests":5,"max_error_ratio":0.5,"window":"3s"}}"#, None),
            (r#"{"lease":"50ms"}"#, Some("\"50ms\" is not a lease")),
            (r#"{"lease":"2days"}"#, Some("\"2days\" is not a lease")),
            (
                r#"{"guard":{"min_requests":5,"max_error_ratio":0.5,"window":"50ms"}}"#,
                Some("window \"50ms\" is not"),
            ),
            (r#"{"guard":{"min_request":5}}"#, Some("unknown field `min_request`")),
            (r#"{"guard":3}"#, Some("expected true, false or { min_requests")),
            (r#"{"lease":"never"}"#, Some("\"never\" is not a duration")),
        ] {
            let read = serde_json::from_str::<Trial>(text);
            match (said, &read) {
                (None, Ok(trial)) => {
                    let back = serde_json::from_str::<Trial>(&serde_json::to_string(trial).unwrap());
                    assert_eq!(&back.unwrap(), trial, "{text}");
                }
                (Some(said), Err(error)) => assert!(error.to_string().contains(said), "{error}"),
                _ => panic!("{text}: {read:?}"),
            }
        }
    }
}
