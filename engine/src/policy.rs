//! The policy of a group: how it is deployed. TOML and other formats parse into these types. The journal stores the policy of each
//! deployment, so a deployment uses the same policy from its beginning to its end.

use std::collections::BTreeMap;

use cutover_core::deployment::Plan;
use cutover_core::probe::Require;
use cutover_core::verdict::evidence::Evidence;
use serde::{Deserialize, Deserializer, Serialize, de};

mod capacity;
mod check;
mod command;
mod database;
mod expect;
mod fleet;
mod hook;
mod journaled;
mod probe;
mod proof;
mod ranges;
#[cfg(feature = "schema")]
mod schema;
mod signal;
mod smoke;
mod soak;
mod steps;
mod synthetic;
mod trial;
mod url;
mod value;
mod warm;
mod warmup;

pub use capacity::Capacity;
pub use check::{BySlot, Check, CommandCheck, GrpcCheck, HttpCheck, Port, Tls, Way};
pub use command::Command;
pub use database::{Database, MigrationsFolder, Secret};
pub use fleet::{FleetPolicy, OnMissing, is_among};
pub use hook::{Diagnose, Switched};
pub use probe::Probe;
pub use signal::{Compare, Signal};
pub use smoke::{Hurl, Smoke, SmokeKind};
pub use soak::{OnInconclusive, Setting, Soak};
pub use steps::Steps;
pub use synthetic::Synthetic;
pub use trial::{Guard, GuardLimits, Trial};
pub use url::HttpUrl;
pub use value::{Argv, Count, Duration, MAX_STRING, Ratio, UrlPath};
pub use warm::{OnBad, Warm};
pub use warmup::Warmup;

/// `[group.NAME]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// The edges that have the group. Empty: all edges.
    #[cfg_attr(feature = "schema", schemars(skip))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub edges: Vec<String>,
    /// `[group.NAME.fleet]`
    #[cfg_attr(feature = "schema", schemars(skip))]
    pub fleet: FleetPolicy,
    /// The steps in which the new version gets the traffic, as in ["1% 5m", "10% manual", "100%"]: a share that grows, and how
    /// long it lasts, or `manual`: until it is promoted. The last one is "100%".
    pub steps: Steps,
    /// How long the old version stays up after a deployment, as the way back: a time, or a table with `duration` and `on_bad`.
    pub warm: Warm,
    /// How long a version that was taken back is refused. Zero: not at all.
    pub retry_after: Duration,
    /// The value of `Host` in probes and smoke tests. Without it, the name of the group.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "host")]
    #[cfg_attr(feature = "schema", schemars(regex(pattern = "^[!-~]+$")))]
    pub host: Option<String>,
    /// Variables for every command of the group.
    #[cfg_attr(feature = "schema", schemars(skip))]
    #[serde(deserialize_with = "variables")]
    pub env: BTreeMap<String, String>,
    /// Changes the database for the new version.
    #[cfg_attr(feature = "schema", schemars(skip))]
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "command::migrate")]
    pub migrate: Option<Command>,
    /// Shows what `migrate` will do, before it runs.
    #[cfg_attr(feature = "schema", schemars(skip))]
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "command::plain")]
    pub plan: Option<Command>,
    /// `[group.NAME.database]`
    #[cfg_attr(feature = "schema", schemars(skip))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<Database>,
    /// Undoes what `migrate` did in this deployment.
    #[cfg_attr(feature = "schema", schemars(skip))]
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "command::plain")]
    pub revert: Option<Command>,
    /// Starts the new version in the standby slot.
    #[cfg_attr(feature = "schema", schemars(skip))]
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "command::plain")]
    pub provision: Option<Command>,
    /// Stops a slot.
    #[cfg_attr(feature = "schema", schemars(skip))]
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "command::decommission")]
    pub decommission: Option<Command>,
    /// Is told of each change of the route.
    #[cfg_attr(feature = "schema", schemars(skip))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub switched: Option<Switched>,
    /// Says why a new version has failed.
    #[cfg_attr(feature = "schema", schemars(skip))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diagnose: Option<Diagnose>,
    /// What says whether a server is healthy: a check of each server of a slot, and its rhythm.
    pub probe: Probe,
    /// How many healthy servers the new slot needs before traffic moves there, as a share of those of the slot that has the
    /// traffic, as in "50%". "0": as many as `probe.require` says.
    pub capacity: Capacity,
    /// Checks of the new version before it gets traffic, in their order. One that fails ends the deployment.
    #[serde(deserialize_with = "smoke::smoke_tests")]
    pub smoke: Vec<Smoke>,
    /// Requests that warm up the new version before it gets the traffic. Without it, there are none; {} has the defaults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup: Option<Warmup>,
    /// How the new version is watched and judged while it has the traffic.
    pub soak: Soak,
    /// Queries of Prometheus whose values have limits during the soak.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "signal::signals")]
    pub signal: Vec<Signal>,
    /// When nginx takes a bad version back by itself during the soak.
    pub trial: Trial,
    /// How long unfinished requests are waited for.
    pub drain: Drain,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            edges: Vec::new(),
            fleet: FleetPolicy::default(),
            steps: Steps::default(),
            warm: Warm::default(),
            retry_after: Duration::seconds(3600),
            host: None,
            env: BTreeMap::new(),
            migrate: None,
            plan: None,
            database: None,
            revert: None,
            provision: None,
            decommission: None,
            switched: None,
            diagnose: None,
            probe: Probe::default(),
            capacity: Capacity::default(),
            smoke: Vec::new(),
            warmup: None,
            soak: Soak::default(),
            signal: Vec::new(),
            trial: Trial::default(),
            drain: Drain::default(),
        }
    }
}

impl Policy {
    /// The plan of a deployment from one slot to another, which compares with nothing from before its start.
    pub fn plan(&self, group: &str, from: &str, to: &str) -> Plan {
        Plan {
            group: group.to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
            migrate: self.migrates(),
            provision: self.provision.is_some(),
            revert: self.reverts(),
            decommission: self.decommission.is_some(),
            probe_deadline: self.probe.deadline.get(),
            steps: self.steps.get(),
            soak: self.soak.duration.get(),
            extend: self.soak.extended_by().unwrap_or_default(),
            accept_inconclusive: self.soak.accepts_inconclusive(),
            drain: self.drain.deadline.get(),
            warm: self.warm_window(),
            served: BTreeMap::new(),
            probes_only: false,
            known: Evidence::default(),
            excluded: Vec::new(),
            with: Vec::new(),
        }
    }

    /// Whether the group is on an edge.
    pub fn is_on(&self, edge: &str) -> bool {
        is_among(&self.edges, edge)
    }

    /// Whether a command starts or stops a slot.
    pub fn starts_or_stops(&self) -> bool {
        self.provision.is_some() || self.decommission.is_some()
    }

    /// Fails if the soak is too short for a signal.
    pub fn check_signals(&self) -> Result<(), String> {
        // A step that lasts until it is promoted can be long enough.
        let Some(steps) = self.steps.timed() else { return Ok(()) };
        let longest = steps + self.soak.duration.get() + self.soak.extended_by().unwrap_or_default();
        match self.signal.iter().find(|signal| signal.shortest_soak() > longest) {
            Some(signal) => Err(format!(
                "signal \"{}\": with its window of {} and \"for\" of {} it proves nothing in a soak of {}: set \
                 soak.duration to at least \"{}\", or shorten the window",
                signal.name,
                signal.window,
                signal.lasting,
                Duration::from(longest),
                Duration::from(signal.shortest_soak()),
            )),
            None => Ok(()),
        }
    }

    /// Whether a failed request is tried again on the old slot.
    pub fn rescues(&self) -> bool {
        self.trial.rescue.unwrap_or(self.probe.require == Require::All)
    }

    /// Whether the edge is asked to take a bad version back by itself.
    pub fn wants_trial(&self) -> bool {
        self.trial.lease.is_some() || self.trial.guard != Guard::Switch(false) || self.rescues()
    }

    /// Fails if the keys of synthetic requests contradict each other. The error begins with the key.
    pub fn check_synthetic(&self) -> Result<(), &'static str> {
        self.soak.synthetic.as_ref().map_or(Ok(()), |synthetic| synthetic.check(&self.smoke))
    }

    /// How long the old slot stays up after the warm window while it holds sessions. `None`: they are cut off.
    pub fn waits_for_sessions(&self) -> Option<std::time::Duration> {
        let wait = self.decommission.as_ref().and_then(|command| command.wait_for_sessions);
        wait.map(Duration::get).filter(|wait| !wait.is_zero())
    }

    /// How long the old slot stays warm. A wait for sessions begins when the window is over, so it needs one, however short.
    pub fn warm_window(&self) -> std::time::Duration {
        let least = self.waits_for_sessions().map_or(0, |_| 1);
        self.warm.duration.get().max(std::time::Duration::from_millis(least))
    }
}

/// `[group.NAME.drain]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Drain {
    /// How long unfinished requests of a slot that has lost its traffic may take to end.
    pub deadline: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self { deadline: Duration::seconds(30) }
    }
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
