//! `[group.NAME.probe]`: the check that says whether a server is healthy, and its rhythm.

use cutover_core::placeholder::has_version;
use cutover_core::probe::{Require, Thresholds};
use serde::{Deserialize, Serialize};

use super::check::{Check, HttpCheck, RawCheck, Way, keys_of_check};
use super::expect;
use super::value::{Count, Duration, UrlPath, not_zero};

/// The path of a probe that has none.
const PATH: &str = "/health/ready";

/// `[group.NAME.probe]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "RawProbe", into = "RawProbe")]
pub struct Probe {
    /// What is asked of each primary.
    pub check: Check,
    /// Time between two rounds.
    pub interval: Duration,
    /// Time limit of one probe.
    pub timeout: Duration,
    /// Number of good probes in a row after which a peer is healthy.
    pub healthy: Count,
    /// Number of bad probes in a row after which a peer is sick.
    pub unhealthy: Count,
    /// Time within which the new slot must be healthy.
    pub deadline: Duration,
    /// How many servers of a slot must be healthy before traffic moves there.
    pub require: Require,
}

/// How much later than planned a round may come, for a slow edge or a busy machine.
const LATE: std::time::Duration = std::time::Duration::from_secs(10);

impl Probe {
    /// How long a result says how a server is. An older one is not shown any more.
    pub fn lasts(&self) -> std::time::Duration {
        (self.interval.get() + self.timeout.get()) * 3 + LATE
    }

    /// The thresholds for core.
    pub fn thresholds(&self) -> Thresholds {
        Thresholds { healthy: self.healthy.get(), unhealthy: self.unhealthy.get() }
    }

    /// A GET that reaches a server as users do: like the probe, but not on a port that only the probe has.
    pub(super) fn get_as_users(&self, path: UrlPath) -> HttpCheck {
        let http2 = matches!(&self.check, Check::Http(http) if http.http2);
        let way = Way { port: None, ..self.check.way().cloned().unwrap_or_default() };
        HttpCheck { http2, way, ..HttpCheck::get(path) }
    }
}

keys_of_check! {
    /// All keys of a probe. `TryFrom` checks which are allowed together.
    #[derive(Serialize, Deserialize)]
    #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
    #[serde(deny_unknown_fields, default)]
    struct RawProbe {
        /// Time between two rounds of probes. The first round is immediate.
        #[serde(deserialize_with = "not_zero")]
        interval: Duration,
        /// Time limit of one probe.
        #[serde(deserialize_with = "not_zero")]
        timeout: Duration,
        /// So many good probes in a row make a server healthy.
        healthy: Count,
        /// So many bad probes in a row make a server unhealthy.
        unhealthy: Count,
        /// Time within which the new slot must be healthy.
        #[serde(deserialize_with = "not_zero")]
        deadline: Duration,
        /// How many servers of a slot must be healthy before traffic moves there: "all", "majority", "one", or a percentage, as in
        /// "80%".
        require: Require,
    }
}

impl Default for RawProbe {
    fn default() -> Self {
        Self {
            interval: Duration::seconds(1),
            timeout: Duration::seconds(2),
            healthy: Count::new(2),
            unhealthy: Count::new(3),
            deadline: Duration::seconds(60),
            require: Require::All,
            kind: None,
            path: None,
            method: None,
            headers: None,
            body: None,
            expect: None,
            http2: None,
            port: None,
            tls: None,
            through: None,
            service: None,
            command: None,
            cwd: None,
        }
    }
}

impl TryFrom<RawProbe> for Probe {
    type Error = String;

    fn try_from(mut raw: RawProbe) -> Result<Self, String> {
        let check = raw.take_check().check(Some(PATH)).map_err(|why| match why.strip_prefix(": ") {
            Some(why) => why.to_owned(),
            None => format!("the probe {why}"),
        })?;
        check_texts(&check)?;
        let RawProbe { interval, timeout, healthy, unhealthy, deadline, require, .. } = raw;
        Ok(Self { check, interval, timeout, healthy, unhealthy, deadline, require })
    }
}

/// Fails if a placeholder does not exist, or if `{version}` is sent: probes ask slots whose version is not known, too.
fn check_texts(check: &Check) -> Result<(), String> {
    expect::check_placeholders(check.sent_texts())?;
    if let Some(text) = check.sent_texts().into_iter().find(|text| has_version(text)) {
        return Err(format!(
            "\"{text}\": a probe sends no {{version}}, because it also asks slots whose version is not known; expect the \
             version in the answer, as in probe.expect = {{ body_contains = \"{{version}}\" }}"
        ));
    }
    let expected = check.expect().map(|expect| expect.texts()).unwrap_or_default();
    expect::check_placeholders(expected).map_err(|why| format!("expect: {why}"))
}

impl From<Probe> for RawProbe {
    fn from(probe: Probe) -> Self {
        let Probe { check, interval, timeout, healthy, unhealthy, deadline, require } = probe;
        Self { interval, timeout, healthy, unhealthy, deadline, require, ..Self::default() }
            .with_check(RawCheck::from(check))
    }
}

impl Default for Probe {
    fn default() -> Self {
        let RawProbe { interval, timeout, healthy, unhealthy, deadline, require, .. } = RawProbe::default();
        let check = Check::get(PATH);
        Self { check, interval, timeout, healthy, unhealthy, deadline, require }
    }
}
