//! `[group.NAME]`: how one group is deployed. The journal keeps it with each deployment, so a deployment ends with the
//! configuration that it began with.

use std::collections::BTreeMap;
use std::num::NonZeroU8;
use std::path::PathBuf;

use cutover_core::probe::{Require, Thresholds};
use cutover_core::smoke::Expectation;
use cutover_core::soak::Limits;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::value::{Argv, Count, Duration, MAX_STRING, Ratio, UrlPath, not_zero};

/// One group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Group {
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

impl Default for Group {
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

impl Group {
    /// Whether there is a command that starts or stops a slot.
    pub fn starts_or_stops(&self) -> bool {
        self.provision.is_some() || self.decommission.is_some()
    }
}

/// A command: a program with its arguments and a limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The program, an absolute path, and its arguments.
    pub command: Argv,
    /// Ended, with all it started in its process group, after this long.
    #[serde(default = "five_minutes", deserialize_with = "not_zero")]
    pub timeout: Duration,
    /// The folder it runs in; absent: `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<PathBuf>,
    /// Of `migrate` only: the exit code that says that it succeeded and this deployment has applied nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nothing_applied: Option<NonZeroU8>,
}

fn five_minutes() -> Duration {
    Duration::seconds(300)
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

/// `[[group.NAME.smoke]]`: one smoke test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawSmoke", into = "RawSmoke")]
pub struct Smoke {
    /// For people.
    pub name: String,
    kind: SmokeKind,
}

impl Smoke {
    /// What it does.
    pub fn kind(&self) -> &SmokeKind {
        &self.kind
    }
}

/// What a smoke test does.
#[derive(Clone, Debug, PartialEq)]
pub enum SmokeKind {
    /// Asks every peer of the new slot and looks at the answers.
    Request(Box<SmokeRequest>),
    /// Runs a command: exit status 0 is a pass.
    Command(Command),
}

/// A request and what is expected of its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct SmokeRequest {
    /// The method.
    pub method: String,
    /// The path.
    pub path: UrlPath,
    /// Headers to send.
    pub headers: BTreeMap<String, String>,
    /// The body to send.
    pub body: Option<String>,
    /// Limit of the request.
    pub timeout: Duration,
    /// What the answer must be.
    pub expect: Expectation,
}

/// As written: which keys go together is decided in `TryFrom`.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawSmoke {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<UrlPath>,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expect: Option<Expectation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<Argv>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cwd: Option<PathBuf>,
}

impl TryFrom<RawSmoke> for Smoke {
    type Error = String;

    fn try_from(raw: RawSmoke) -> Result<Self, String> {
        let name = raw.name;
        if name.is_empty() {
            return Err("a smoke test needs a name".to_owned());
        }
        if let Some(timeout) =
            raw.timeout.filter(|timeout| timeout.get() < std::time::Duration::from_millis(1))
        {
            return Err(format!("smoke \"{name}\": timeout \"{timeout}\" is too short: at least \"1ms\""));
        }
        if let Some(command) = raw.command {
            let alien = [
                ("method", raw.method.is_some()),
                ("path", raw.path.is_some()),
                ("headers", raw.headers.is_some()),
                ("body", raw.body.is_some()),
                ("expect", raw.expect.is_some()),
            ];
            if let Some((key, _)) = alien.iter().find(|(_, there)| *there) {
                return Err(format!("smoke \"{name}\" has a command: \"{key}\" does not go with it"));
            }
            let timeout = raw.timeout.unwrap_or(Duration::seconds(60));
            return Ok(Self {
                name,
                kind: SmokeKind::Command(Command { command, timeout, cwd: raw.cwd, nothing_applied: None }),
            });
        }
        let Some(path) = raw.path else {
            return Err(format!("smoke \"{name}\" needs a path or a command"));
        };
        if raw.cwd.is_some() {
            return Err(format!("smoke \"{name}\" has no command: \"cwd\" does not go with it"));
        }
        let method = raw.method.unwrap_or_else(|| "GET".to_owned());
        if method.parse::<http::Method>().is_err() {
            return Err(format!("smoke \"{name}\": \"{method}\" is not a method, as in \"GET\""));
        }
        let headers = raw.headers.unwrap_or_default();
        for (key, value) in &headers {
            if key.parse::<http::HeaderName>().is_err() || value.parse::<http::HeaderValue>().is_err() {
                return Err(format!("smoke \"{name}\": \"{key}: {value}\" is not a header"));
            }
        }
        let timeout = raw.timeout.unwrap_or(Duration::seconds(5));
        let expect = raw.expect.unwrap_or_default();
        if let Some(status) = expect.status.filter(|status| !(100..600).contains(status)) {
            return Err(format!("smoke \"{name}\": expect.status {status} is not a status from 100 to 599"));
        }
        if let Some(pointer) = expect.json.keys().find(|key| !key.is_empty() && !key.starts_with('/')) {
            return Err(format!(
                "smoke \"{name}\": expect.json \"{pointer}\" is not a JSON pointer, as in \"/{pointer}\""
            ));
        }
        let request = SmokeRequest { method, path, headers, body: raw.body, timeout, expect };
        Ok(Self { name, kind: SmokeKind::Request(Box::new(request)) })
    }
}

impl From<Smoke> for RawSmoke {
    fn from(smoke: Smoke) -> Self {
        let raw = Self { name: smoke.name, ..Self::default() };
        match smoke.kind {
            SmokeKind::Command(Command { command, timeout, cwd, .. }) => {
                Self { command: Some(command), timeout: Some(timeout), cwd, ..raw }
            }
            SmokeKind::Request(request) => Self {
                method: Some(request.method),
                path: Some(request.path),
                headers: Some(request.headers),
                body: request.body,
                timeout: Some(request.timeout),
                expect: Some(request.expect),
                ..raw
            },
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
    /// Failed / all attempts. Absent: 0.05 where all servers must be healthy, else none: attempts at a server that may be dead fail.
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
        return Err(de::Error::custom("\"nothing_applied\" goes with migrate only"));
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
            return Err(de::Error::custom(format!("\"{name}\" is not a variable's name")));
        }
        if value.contains('\0') {
            return Err(de::Error::custom(format!("the value of \"{name}\" holds a zero byte")));
        }
        if name.len() + 1 + value.len() >= MAX_STRING {
            return Err(de::Error::custom(format!(
                "\"{name}\" has {} bytes with its value: no variable of a command may have {MAX_STRING}",
                name.len() + 1 + value.len()
            )));
        }
    }
    Ok(variables)
}
