//! The section `[edge.NAME]`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use cutover_edges::file::FileEdge;
use cutover_edges::host::HostEdge;
use cutover_edges::module::{AdminAddress, Module};
use serde::{Deserialize, Deserializer, de};
use toml::Value;

use super::value::EdgeName;

mod file;

pub use file::FileSection;

/// `[edge.NAME]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EdgeSection {
    /// `kind = "module"`, which is the default: nginx with Cutover's module.
    Module(ModuleSection),
    /// `kind = "file"`: stock nginx.
    File(FileSection),
}

/// `[edge.NAME]` of nginx with the module.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleSection {
    /// Address of the module's admin API: `unix:/PATH`, or `http://ADDRESS:PORT` on loopback.
    #[serde(deserialize_with = "admin")]
    pub admin: AdminAddress,
    /// The file with the token, which the module requires over TCP.
    #[serde(default, deserialize_with = "absolute")]
    pub token_file: Option<PathBuf>,
}

impl ModuleSection {
    /// A client of the admin API.
    pub fn module(&self, name: &str) -> Module {
        Module::new(name, &self.admin, self.token_file.as_deref())
    }
}

impl EdgeSection {
    /// The edge.
    pub fn edge(&self, name: &str) -> HostEdge {
        match self {
            Self::Module(section) => HostEdge::Module(section.module(name)),
            Self::File(section) => HostEdge::File(FileEdge::new(name, section.settings())),
        }
    }

    /// The same for a program that only reads, beside the daemon.
    pub fn reading_edge(&self, name: &str) -> HostEdge {
        match self {
            Self::Module(_) => self.edge(name),
            Self::File(section) => HostEdge::File(FileEdge::only_reading(name, section.settings())),
        }
    }
}

// The kind decides which keys there are. Serde's own way (`tag = "kind"`) has no default, and its errors lose the line.
impl<'de> Deserialize<'de> for EdgeSection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut keys = toml::Table::deserialize(deserializer)?;
        let kind = keys.remove("kind");
        let section = Value::Table(keys);
        let parsed = match kind.as_ref().map(Value::as_str) {
            None | Some(Some("module")) => ModuleSection::deserialize(section).map(Self::Module),
            Some(Some("file")) => FileSection::deserialize(section).map(Self::File),
            Some(_) => {
                let kind = kind.unwrap_or(Value::Boolean(false));
                return Err(de::Error::custom(format!(
                    "kind = {kind} is no kind of edge: expected \"module\" or \"file\""
                )));
            }
        };
        parsed.map_err(|error| de::Error::custom(error.message()))
    }
}

/// Checks what single values cannot know: the groups of a file edge.
pub(super) fn check(name: &EdgeName, section: &EdgeSection, groups: &[&str]) -> Result<(), String> {
    let EdgeSection::File(section) = section else { return Ok(()) };
    let has: BTreeMap<&str, ()> = section.group.keys().map(|group| (group.as_str(), ())).collect();
    if let Some(group) = groups.iter().find(|group| !has.contains_key(*group)) {
        return Err(format!(
            "[group.{group}] has no file on edge \"{name}\": add [edge.{name}.group.{group}] with file, upstream and slots"
        ));
    }
    if let Some(group) = section.group.keys().find(|group| !groups.contains(&group.as_str())) {
        let group = group.as_str();
        return Err(format!("[edge.{name}.group.{group}] is of no group: add [group.{group}]"));
    }
    Ok(())
}

fn admin<'de, D: Deserializer<'de>>(deserializer: D) -> Result<AdminAddress, D::Error> {
    let text = String::deserialize(deserializer)?;
    if let Some(path) = text.strip_prefix("unix:").filter(|path| path.starts_with('/')) {
        return Ok(AdminAddress::Unix(path.into()));
    }
    let address = text.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
    match address.and_then(|address| address.parse::<SocketAddr>().ok()) {
        Some(address) if address.ip().is_loopback() => Ok(AdminAddress::Tcp(address)),
        Some(_) => Err(de::Error::custom(format!(
            "\"{text}\" is not a loopback address: over plain HTTP the admin API must stay on this host"
        ))),
        None => Err(de::Error::custom(format!(
            "\"{text}\" is neither \"unix:/PATH\" nor \"http://127.0.0.1:PORT\""
        ))),
    }
}

/// Deserializes an absolute path, which does not depend on the working directory of the daemon.
fn absolute<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    let path = PathBuf::deserialize(deserializer)?;
    if path.is_absolute() {
        return Ok(Some(path));
    }
    let path = path.display();
    Err(de::Error::custom(format!("\"{path}\" is not an absolute path, as in \"/etc/nginx/cutover.token\"")))
}
