//! `[group.NAME.warmup]`: requests of the daemon itself that warm up the new version before it gets the traffic.

use cutover_core::placeholder::has_version;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::check::Check;
use super::expect::check_placeholders;
use super::probe::Probe;
use super::value::{Count, Duration, UrlPath, not_zero};

/// Most requests to a server at a time.
const MOST_AT_A_TIME: u32 = 256;

/// GET requests to each healthy server of the new slot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default, expecting = "a table, as in { paths = [\"/\"], requests = 200 }")]
pub struct Warmup {
    /// The paths, one after the other and then from the first one again.
    #[serde(deserialize_with = "paths")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub paths: Vec<UrlPath>,
    /// The least number of requests to each server.
    pub requests: Count,
    /// The number of requests to a server at a time, at most 256.
    #[serde(deserialize_with = "concurrency")]
    #[cfg_attr(feature = "schema", schemars(extend("maximum" = MOST_AT_A_TIME)))]
    pub concurrency: Count,
    /// It goes on until the 99th percentile of the last answers of each server is below this. Without it, only `requests` counts.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "limit")]
    pub until_p99: Option<Duration>,
    /// It ends then in any case, and the deployment goes on.
    #[serde(deserialize_with = "not_zero")]
    pub deadline: Duration,
}

impl Warmup {
    /// The requests, in the order of the paths.
    pub fn checks(&self, probe: &Probe) -> Vec<Check> {
        self.paths.iter().map(|path| Check::Http(Box::new(probe.get_as_users(path.clone())))).collect()
    }

    /// Whether a path contains the version.
    pub(super) fn needs_version(&self) -> bool {
        self.paths.iter().any(|path| has_version(path.as_str()))
    }
}

impl Default for Warmup {
    fn default() -> Self {
        Self {
            paths: vec![UrlPath::fixed("/")],
            requests: Count::new(200),
            concurrency: Count::new(4),
            until_p99: None,
            deadline: Duration::seconds(30),
        }
    }
}

fn paths<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<UrlPath>, D::Error> {
    let paths = Vec::<UrlPath>::deserialize(deserializer)?;
    if paths.is_empty() {
        return Err(de::Error::custom("paths = [] has no path, as in [\"/\"]"));
    }
    check_placeholders(paths.iter().map(UrlPath::as_str)).map_err(de::Error::custom)?;
    Ok(paths)
}

fn concurrency<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Count, D::Error> {
    let count = Count::deserialize(deserializer)?;
    match count.get() {
        1..=MOST_AT_A_TIME => Ok(count),
        many => Err(de::Error::custom(format!(
            "concurrency {many} is more than {MOST_AT_A_TIME} requests to a server at a time: a warm-up is no load test"
        ))),
    }
}

fn limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    not_zero(deserializer).map(Some)
}
