//! The section `[edge.NAME]`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use cutover_edges::file::FileEdge;
use cutover_edges::host::HostEdge;
use cutover_edges::module::{AdminAddress, Module};
use cutover_edges::tls::{ClientFiles, HttpsHost, ServerName, TlsSettings};
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
#[serde(try_from = "Keys")]
pub struct ModuleSection {
    /// Address of the module's admin API: `unix:/PATH`, `http://ADDRESS:PORT` on loopback, or `https://HOST:PORT`.
    pub admin: AdminAddress,
    /// The file with the token, which the module requires over TCP.
    pub token_file: Option<PathBuf>,
    /// The keys for TLS; only with an `https://` address.
    pub tls: TlsKeys,
}

/// The keys of an edge that is reached over TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsKeys {
    /// `ca`: see [`TlsSettings`].
    pub ca: Option<PathBuf>,
    /// `client_cert` and `client_key`.
    pub client: Option<ClientFiles>,
    /// `server_name`
    pub server_name: Option<ServerName<'static>>,
}

/// The keys as they are written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    #[serde(deserialize_with = "admin")]
    admin: AdminAddress,
    #[serde(default, deserialize_with = "absolute")]
    token_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "absolute")]
    ca: Option<PathBuf>,
    #[serde(default, deserialize_with = "absolute")]
    client_cert: Option<PathBuf>,
    #[serde(default, deserialize_with = "absolute")]
    client_key: Option<PathBuf>,
    #[serde(default, deserialize_with = "server_name")]
    server_name: Option<ServerName<'static>>,
}

impl ModuleSection {
    /// A client of the admin API.
    pub fn module(&self, name: &str) -> Module {
        let TlsKeys { ca, client, server_name } = self.tls.clone();
        let tls = TlsSettings { section: format!("edge.{name}"), ca, client, server_name, application: None };
        Module::new(name, &self.admin, self.token_file.as_deref()).with_tls(tls)
    }
}

impl TryFrom<Keys> for ModuleSection {
    type Error = String;

    fn try_from(keys: Keys) -> Result<Self, String> {
        let Keys { admin, token_file, ca, client_cert, client_key, server_name } = keys;
        if let AdminAddress::Https(_) = &admin {
            if token_file.is_none() {
                return Err(format!(
                    "\"{admin}\" needs token_file: set it to a file with the token that \"cutover_api token_file=\" has there"
                ));
            }
        } else {
            let given = [
                ("ca", ca.is_some()),
                ("client_cert", client_cert.is_some()),
                ("client_key", client_key.is_some()),
                ("server_name", server_name.is_some()),
            ];
            if let Some((key, _)) = given.into_iter().find(|(_, is_given)| *is_given) {
                return Err(format!("{key} is for \"https://HOST:PORT\", but admin is \"{admin}\""));
            }
        }
        let client = match (client_cert, client_key) {
            (Some(certificate), Some(key)) => Some(ClientFiles { certificate, key }),
            (None, None) => None,
            (Some(_), None) => {
                return Err("client_cert needs client_key, the file with its private key".to_owned());
            }
            (None, Some(_)) => {
                return Err("client_key needs client_cert, the file with its certificate".to_owned());
            }
        };
        Ok(Self { admin, token_file, tls: TlsKeys { ca, client, server_name } })
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
    if text.starts_with("https://") {
        return HttpsHost::parse(&text).map(AdminAddress::Https).ok_or_else(|| {
            de::Error::custom(format!(
                "\"{text}\" is not the address of an admin API, as in \"https://10.0.0.2:9443\": a host and a port without a path"
            ))
        });
    }
    match address.and_then(|address| address.parse::<SocketAddr>().ok()) {
        Some(address) if address.ip().is_loopback() => Ok(AdminAddress::Tcp(address)),
        Some(_) => Err(de::Error::custom(format!(
            "\"{text}\" is not a loopback address: over plain HTTP the admin API must stay on this host. Use \"https://{}\"",
            text.trim_start_matches("http://")
        ))),
        None => Err(de::Error::custom(format!(
            "\"{text}\" is none of \"unix:/PATH\", \"http://127.0.0.1:PORT\" and \"https://HOST:PORT\""
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

/// Deserializes a name or an IP address that a certificate can have.
fn server_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ServerName<'static>>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match ServerName::try_from(text.clone()) {
        Ok(name) => Ok(Some(name)),
        Err(_) => {
            Err(de::Error::custom(format!("\"{text}\" is not a name of a host, as in \"edge.example.com\"")))
        }
    }
}
