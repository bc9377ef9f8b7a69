//! `[edge.NAME] kind = "file"`: stock nginx.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time;

use cutover_core::name;
use cutover_edges::file::{FileGroup, FileSlot, Server, Settings};
use cutover_engine::policy::Duration;
use serde::{Deserialize, Deserializer, de};

use crate::config::value::GroupName;

/// The section.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSection {
    /// Tests the configuration of nginx.
    #[serde(default = "nginx_test", deserialize_with = "program")]
    pub test: Vec<String>,
    /// Reloads nginx.
    #[serde(default = "nginx_reload", deserialize_with = "program")]
    pub reload: Vec<String>,
    /// The file with the process id of nginx's master.
    #[serde(default = "nginx_pid", deserialize_with = "absolute")]
    pub pid: PathBuf,
    /// The access log that is counted.
    #[serde(default, deserialize_with = "some_absolute")]
    pub log: Option<PathBuf>,
    /// How a share of the traffic is given. `None`: not at all.
    #[serde(default)]
    pub shares: Option<Shares>,
    /// How long the test, the reload and the start of new workers may take, each.
    #[serde(default = "usual_timeout", deserialize_with = "timeout")]
    pub timeout: Duration,
    /// `[edge.NAME.group.NAME]`
    #[serde(default)]
    pub group: BTreeMap<GroupName, GroupSection>,
}

/// How a share of the traffic is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shares {
    /// By `weight=` of the servers.
    Weight,
}

/// `[edge.NAME.group.NAME]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupSection {
    /// The file with the block.
    #[serde(deserialize_with = "absolute")]
    pub file: PathBuf,
    /// The name of the block: `upstream NAME { .. }`.
    #[serde(deserialize_with = "upstream")]
    pub upstream: String,
    /// The servers of each slot.
    #[serde(deserialize_with = "slots")]
    pub slots: Vec<FileSlot>,
}

impl FileSection {
    /// The settings of the edge.
    pub fn settings(&self) -> Settings {
        let group = |(name, section): (&GroupName, &GroupSection)| FileGroup {
            name: name.as_str().to_owned(),
            file: section.file.clone(),
            upstream: section.upstream.clone(),
            slots: section.slots.clone(),
        };
        Settings {
            test: self.test.clone(),
            reload: self.reload.clone(),
            pid: self.pid.clone(),
            log: self.log.clone(),
            weighs: self.shares.is_some(),
            timeout: self.timeout.get(),
            groups: self.group.iter().map(group).collect(),
        }
    }
}

fn nginx_test() -> Vec<String> {
    ["nginx", "-t"].map(str::to_owned).to_vec()
}

fn nginx_reload() -> Vec<String> {
    ["nginx", "-s", "reload"].map(str::to_owned).to_vec()
}

fn nginx_pid() -> PathBuf {
    "/run/nginx.pid".into()
}

fn usual_timeout() -> Duration {
    Duration::seconds(10)
}

fn timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let timeout = Duration::deserialize(deserializer)?;
    match timeout.get() >= time::Duration::from_millis(100) {
        true => Ok(timeout),
        false => Err(de::Error::custom(format!("timeout \"{timeout}\" is too short: at least \"100ms\""))),
    }
}

fn program<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let argv = Vec::<String>::deserialize(deserializer)?;
    match argv.first().map(String::as_str) {
        None | Some("") => {
            Err(de::Error::custom("a command needs at least a program, as in [\"nginx\", \"-t\"]"))
        }
        Some(program) if program.contains('/') && !program.starts_with('/') => {
            let why = format!("\"{program}\" is neither an absolute path nor the name of a program");
            Err(de::Error::custom(why))
        }
        Some(_) => match argv.iter().find(|word| word.contains('\0')) {
            Some(word) => Err(de::Error::custom(format!("{word:?} contains a zero byte"))),
            None => Ok(argv),
        },
    }
}

fn absolute<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    let path = PathBuf::deserialize(deserializer)?;
    if path.is_absolute() {
        return Ok(path);
    }
    let why =
        format!("\"{}\" is not an absolute path, as in \"/etc/nginx/conf.d/backend.conf\"", path.display());
    Err(de::Error::custom(why))
}

fn some_absolute<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    absolute(deserializer).map(Some)
}

fn upstream<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    let is_plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-' | '.');
    if name.is_empty() || !name.chars().all(is_plain) {
        let why = format!("\"{name}\" is not the name of an upstream, as in \"backend\"");
        return Err(de::Error::custom(why));
    }
    Ok(name)
}

fn slots<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<FileSlot>, D::Error> {
    let slots = BTreeMap::<String, Vec<String>>::deserialize(deserializer)?;
    if slots.len() < 2 {
        return Err(de::Error::custom(
            "slots needs two slots, as in { blue = [\"127.0.0.1:3000\"], green = [\"127.0.0.1:3001\"] }",
        ));
    }
    let mut parsed = Vec::<FileSlot>::new();
    for (name, servers) in slots {
        let slot = slot(&name, &servers, &parsed).map_err(de::Error::custom)?;
        parsed.push(slot);
    }
    Ok(parsed)
}

/// A slot beside those before it.
fn slot(name: &str, servers: &[String], before: &[FileSlot]) -> Result<FileSlot, String> {
    name::check_slot(name.as_bytes()).map_err(|bad| format!("slot \"{name}\" {bad}"))?;
    let is_plain = |char: char| char.is_alphanumeric() || matches!(char, '_' | '-' | '.');
    if !name.chars().all(is_plain) {
        return Err(format!(
            "slot \"{name}\" has a character that a label in the file cannot have: use letters, digits, \"-\" and \"_\""
        ));
    }
    if servers.is_empty() {
        return Err(format!("slot \"{name}\" needs a server, as in [\"127.0.0.1:3000\"]"));
    }
    let servers: Vec<Server> = servers.iter().map(|text| Server::parse(text)).collect::<Result<_, _>>()?;
    let earlier = before.iter().flat_map(|slot| &slot.servers);
    let all: Vec<&str> = earlier.chain(&servers).map(Server::address).collect();
    if let Some(address) = servers
        .iter()
        .map(Server::address)
        .find(|address| all.iter().filter(|other| *other == address).count() > 1)
    {
        return Err(format!(
            "slot \"{name}\": server {address} is there twice, so it is not known which slot it belongs to"
        ));
    }
    Ok(FileSlot { name: name.to_owned(), servers })
}
