//! The configuration file in TOML, parsed into types that hold only valid values.
//!
//! Values are checked during parsing, so an error points to the line in the file. An unknown key is an error, because a
//! misspelt limit would have no effect.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cutover_engine::policy::Policy;
use serde::{Deserialize, Deserializer, de};

mod edge;
mod file;
mod plain;
mod renamed;
mod store;
#[cfg(test)]
pub(crate) mod tests;
mod value;

pub use edge::{EdgeSection, FileSection, ModuleSection};
pub use file::{Digest, Loaded};
pub use store::{EtcdSection, StoreKind, TAKEOVER};
pub use value::{EdgeName, GroupName, Loopback, Mode};

/// Default path of the configuration, without `--config` and `CUTOVER_CONFIG`.
pub const DEFAULT_PATH: &str = "/etc/cutover/cutover.toml";

/// Default path of the control socket.
pub const DEFAULT_SOCKET: &str = "/run/cutover/cutover.sock";

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `[daemon]`
    #[serde(default)]
    pub daemon: Daemon,
    /// `[edge.NAME]`, at least one.
    #[serde(default)]
    pub edge: BTreeMap<EdgeName, EdgeSection>,
    /// `[group.NAME]`
    #[serde(default, deserialize_with = "groups")]
    pub group: BTreeMap<GroupName, Policy>,
}

/// `[daemon]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Daemon {
    /// The control API's unix socket.
    pub socket: PathBuf,
    /// Its mode.
    pub socket_mode: Mode,
    /// Folder of the journal and of the output of commands.
    pub state: PathBuf,
    /// Address of the metrics for Prometheus. `None` serves no metrics.
    pub metrics: Option<Loopback>,
    /// Where the journal is.
    pub store: StoreKind,
    /// The store in etcd.
    pub etcd: Option<EtcdSection>,
}

impl Default for Daemon {
    fn default() -> Self {
        Self {
            socket: DEFAULT_SOCKET.into(),
            socket_mode: Mode::OWNER,
            state: "/var/lib/cutover-daemon".into(),
            metrics: None,
            store: StoreKind::default(),
            etcd: None,
        }
    }
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("failed to read the configuration {}: {source}; {}", path.display(), plain::unreadable(path, source))]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The file is invalid.
    #[error("failed to parse the configuration {}: {}", path.display(), plain::types(&source.to_string()))]
    Parse {
        /// The file.
        path: PathBuf,
        /// The line, the key and the expected value.
        source: Box<toml::de::Error>,
    },
}

impl ConfigError {
    fn parse(path: &Path, source: Box<toml::de::Error>) -> Self {
        Self::Parse { path: path.to_owned(), source }
    }
}

impl Config {
    /// Parses the text of a configuration file.
    pub fn parse(text: &str) -> Result<Self, Box<toml::de::Error>> {
        let better = |error| renamed::renamed(text).map_or(error, de::Error::custom);
        let config: Self = toml::from_str(text).map_err(|error| Box::new(better(error)))?;
        config.check_edges().map_err(|error| Box::new(de::Error::custom(error)))?;
        for (name, policy) in &config.group {
            policy
                .check_synthetic()
                .map_err(|why| Box::new(de::Error::custom(format!("group.{}.{why}", name.as_str()))))?;
        }
        for (name, policy) in &config.group {
            let url =
                policy.database.as_ref().map_or(Ok(()), |its| crate::migrations::check_url(its.url.reveal()));
            let checked =
                policy.check_database().and_then(|()| url.map_err(|why| format!("database.url: {why}")));
            checked.map_err(|why| Box::new(de::Error::custom(format!("group.{}.{why}", name.as_str()))))?;
        }
        match config.store_contradiction() {
            Some(wrong) => Err(Box::new(de::Error::custom(wrong))),
            None => Ok(config),
        }
    }

    /// Checks that there is an edge, and that each edge that a group names is there.
    fn check_edges(&self) -> Result<(), String> {
        if self.edge.is_empty() {
            return Err("there is no [edge.NAME]: expected one, as in [edge.nginx]".to_owned());
        }
        for (group, policy) in &self.group {
            let is_there = |edge: &String| self.edge.keys().any(|name| name.as_str() == edge);
            if let Some(missing) = policy.edges.iter().find(|edge| !is_there(edge)) {
                let known: Vec<&str> = self.edge.keys().map(EdgeName::as_str).collect();
                return Err(format!(
                    "group.{}.edges: there is no [edge.{missing}]; there is: {}",
                    group.as_str(),
                    known.join(", ")
                ));
            }
        }
        let is_several =
            |policy: &Policy| self.edge.keys().filter(|name| policy.is_on(name.as_str())).count() > 1;
        for (group, policy) in self.group.iter().filter(|(_, policy)| is_several(policy)) {
            let patience = policy.fleet.patience;
            if let Some(lease) = policy.trial.lease.filter(|lease| *lease <= patience) {
                return Err(format!(
                    "group.{}.fleet.patience \"{patience}\" is not less than trial.lease \"{lease}\": an edge would take its \
                     traffic back while the others still wait for it; shorten the patience, or lengthen the lease",
                    group.as_str(),
                ));
            }
        }
        for (name, section) in &self.edge {
            let its = self.group.iter().filter(|(_, policy)| policy.is_on(name.as_str()));
            let its = its.map(|(group, _)| group.as_str());
            edge::check(name, section, &its.collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// The policy of a group.
    pub fn group(&self, name: &str) -> Option<&Policy> {
        self.group.get(name)
    }
}

/// Groups whose policies fit together.
fn groups<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<GroupName, Policy>, D::Error> {
    let groups = BTreeMap::<GroupName, Policy>::deserialize(deserializer)?;
    for (name, policy) in &groups {
        policy.check_signals().map_err(|why| de::Error::custom(format!("group.{}: {why}", name.as_str())))?;
    }
    Ok(groups)
}
