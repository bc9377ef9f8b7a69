//! How one group is deployed. TOML and other sources parse into these types. The journal keeps a policy with each deployment, so a
//! deployment ends with the policy that it began with.

use std::collections::BTreeMap;

use cutover_core::probe::{Require, Thresholds};
use cutover_core::soak::Limits;
use serde::{Deserialize, Deserializer, Serialize, de};

use value::not_zero;

mod command;
mod smoke;
mod value;

pub use command::Command;
pub use smoke::{Smoke, SmokeKind, SmokeRequest};
pub use value::{Argv, Count, Duration, MAX_STRING, Ratio, UrlPath};

/// How a group is deployed: `[group.NAME]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// How long the old version stays up and probed after a completed deployment; zero: not at all.
    pub warm: Duration,
    /// Value of `Host` in probes and smoke tests; absent: the group's name.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "host")]
    pub host: Option<String>,
    /// Variables for every command of the group.
    #[serde(deserialize_with = "variables")]
    pub env: BTreeMap<String, String>,
    /// Brings the database to what the new version needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub migrate: Option<Command>,
    /// Undoes what `migrate` did in this deployment.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "not_migrate")]
    pub revert: Option<Command>,
    /// Starts the standby slot with the new version.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "not_migrate")]
    pub provision: Option<Command>,
    /// Stops a slot.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "not_migrate")]
    pub decommission: Option<Command>,
    /// `[group.NAME.probe]`
    pub probe: Probe,
    /// `[[group.NAME.smoke]]`
    pub smoke: Vec<Smoke>,
    /// `[group.NAME.soak]`
    pub soak: Soak,
    /// `[group.NAME.drain]`
    pub drain: Drain,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            warm: Duration::seconds(3600),
            host: None,
            env: BTreeMap::new(),
            migrate: None,
            revert: None,
            provision: None,
            decommission: None,
            probe: Probe::default(),
            smoke: Vec::new(),
            soak: Soak::default(),
            drain: Drain::default(),
        }
    }
}

impl Policy {
    /// Whether there is a command that starts or stops a slot.
    pub fn starts_or_stops(&self) -> bool {
        self.provision.is_some() || self.decommission.is_some()
    }
}

/// `[group.NAME.probe]`: HTTP/1.1 GETs of every server of a slot but backups and those that are down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Probe {
    /// What is asked for; healthy is a status of 200 to 399, as nginx's own checks have it.
    pub path: UrlPath,
    /// From one round to the next.
    #[serde(deserialize_with = "not_zero")]
    pub interval: Duration,
    /// Limit of one probe.
    #[serde(deserialize_with = "not_zero")]
    pub timeout: Duration,
    /// Good ones in a row until a peer is healthy.
    pub healthy: Count,
    /// Bad ones in a row until it is sick.
    pub unhealthy: Count,
    /// The new slot must be healthy after this long.
    #[serde(deserialize_with = "not_zero")]
    pub deadline: Duration,
    /// How many of a slot's servers must be healthy for traffic to move there.
    pub require: Require,
}

impl Probe {
    /// As core counts them.
    pub fn thresholds(&self) -> Thresholds {
        Thresholds { healthy: self.healthy.get(), unhealthy: self.unhealthy.get() }
    }
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            path: UrlPath::ready(),
            interval: Duration::seconds(1),
            timeout: Duration::seconds(2),
            healthy: Count::new(2),
            unhealthy: Count::new(3),
            deadline: Duration::seconds(60),
            require: Require::All,
        }
    }
}

/// `[group.NAME.soak]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Soak {
    /// How long the new slot is watched.
    pub duration: Duration,
    /// How often its counters are read.
    #[serde(deserialize_with = "not_zero")]
    pub interval: Duration,
    /// Fewer answers prove nothing.
    pub min_requests: Count,
    /// 5xx / answers.
    pub max_error_ratio: Ratio,
    /// Failed / all attempts. Absent: 0.05 where all servers must be healthy, else none: attempts at a server that may be
    /// dead fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_failed_attempts_ratio: Option<Ratio>,
    /// What too few requests lead to.
    inconclusive: Inconclusive,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Inconclusive {
    Rollback,
    Complete,
}

impl Soak {
    /// As core judges by them.
    pub fn limits(&self, require: Require) -> Limits {
        let of_attempts = if require == Require::All { 0.05 } else { 1.0 };
        Limits {
            min_requests: u64::from(self.min_requests.get()),
            max_error_ratio: self.max_error_ratio.get(),
            max_failed_attempts_ratio: self.max_failed_attempts_ratio.map_or(of_attempts, Ratio::get),
        }
    }

    /// Whether too few requests are good enough.
    pub fn accepts_inconclusive(&self) -> bool {
        self.inconclusive == Inconclusive::Complete
    }
}

impl Default for Soak {
    fn default() -> Self {
        Self {
            duration: Duration::seconds(60),
            interval: Duration::seconds(1),
            min_requests: Count::new(50),
            max_error_ratio: Ratio::new(0.01),
            max_failed_attempts_ratio: None,
            inconclusive: Inconclusive::Rollback,
        }
    }
}

/// `[group.NAME.drain]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Drain {
    /// A slot's requests may take this long to end.
    pub deadline: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self { deadline: Duration::seconds(30) }
    }
}

fn not_migrate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Command>, D::Error> {
    let command = Option::<Command>::deserialize(deserializer)?;
    if command.as_ref().is_some_and(|command| command.nothing_applied.is_some()) {
        return Err(de::Error::custom("\"nothing_applied\" is allowed in migrate only"));
    }
    Ok(command)
}

fn host<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let host = Option::<String>::deserialize(deserializer)?;
    match &host {
        Some(text) if text.is_empty() || !text.chars().all(|c| c.is_ascii_graphic()) => {
            Err(de::Error::custom(format!("host {text:?} is not a host, as in \"shop.example\"")))
        }
        _ => Ok(host),
    }
}

fn variables<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let variables = BTreeMap::<String, String>::deserialize(deserializer)?;
    for (name, value) in &variables {
        if name.starts_with("CUTOVER_") {
            return Err(de::Error::custom(format!(
                "\"{name}\" is set by cutover itself: choose another name"
            )));
        }
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(de::Error::custom(format!("\"{name}\" is not a valid variable name")));
        }
        if value.contains('\0') {
            return Err(de::Error::custom(format!("the value of \"{name}\" contains a zero byte")));
        }
        if name.len() + 1 + value.len() >= MAX_STRING {
            return Err(de::Error::custom(format!(
                "\"{name}\" and its value have {} bytes: a variable of a command must be shorter than {MAX_STRING}",
                name.len() + 1 + value.len()
            )));
        }
    }
    Ok(variables)
}
