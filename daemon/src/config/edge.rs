//! The section `[edge.NAME]`.

use std::net::SocketAddr;
use std::path::PathBuf;

use cutover_edges::module::{AdminAddress, Module};
use serde::{Deserialize, Deserializer, de};

/// `[edge.NAME]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeSection {
    /// Address of the module's admin API: `unix:/PATH`, or `http://ADDRESS:PORT` on loopback.
    #[serde(deserialize_with = "admin")]
    pub admin: AdminAddress,
    /// The file with the token, which the module requires over TCP.
    #[serde(default, deserialize_with = "absolute")]
    pub token_file: Option<PathBuf>,
}

impl EdgeSection {
    /// A client for this edge.
    pub fn module(&self, name: &str) -> Module {
        Module::new(name, &self.admin, self.token_file.as_deref())
    }
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
