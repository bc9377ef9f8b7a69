//! The values: JSON with the version of their format.

use cutover_core::deployment::{Outcome, Time};
use cutover_core::verdict::Glance;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of the format.
const FORMAT: u32 = 1;

/// Most bytes of a message. etcd takes 1.5 MiB in one request.
const MAX_MESSAGE: usize = 64 * 1024;

#[derive(Serialize)]
struct Written<'a, T> {
    format: u32,
    #[serde(flatten)]
    value: &'a T,
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// A deployment as it was requested. Plan and policy are parsed later, because another version may have written them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Requested {
    pub(super) id: String,
    pub(super) version: String,
    pub(super) previous: String,
    pub(super) asked_by: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) reason: String,
    pub(super) started: Time,
    pub(super) plan: Value,
    pub(super) policy: Value,
}

/// The last state of a deployment, and the message of its record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) group: String,
    pub(super) state: Value,
    pub(super) message: String,
    pub(super) at: Time,
}

/// What a search through the deployments of a group needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Summary {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) version: String,
    #[serde(default)]
    pub(super) outcome: Option<Outcome>,
    pub(super) closed: bool,
    /// Whether it has started its version.
    pub(super) started: bool,
    /// Whether it has stopped the slot before it.
    pub(super) stopped: bool,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Recorded {
    pub(super) at: Time,
    pub(super) phase: String,
    pub(super) message: String,
    #[serde(default)]
    pub(super) outcome: Option<Outcome>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) glance: Option<Glance>,
    #[serde(default)]
    pub(super) tries: u32,
}

/// A running command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Command {
    pub(super) name: String,
    pub(super) host: String,
    pub(super) pid: u32,
    pub(super) birth: String,
}

/// Serialises plain data, which cannot fail.
pub(super) fn write(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(&Written { format: FORMAT, value }).unwrap_or_default()
}

/// Parses a value. The error says why this version cannot read it.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let format: Format = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if format.format != FORMAT {
        return Err(format!(
            "its value has format version {}, this daemon reads version {FORMAT}: start the version of cutover that wrote it",
            format.format
        ));
    }
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

/// A message of a size that etcd takes.
pub(super) fn bounded(message: &str) -> String {
    if message.len() <= MAX_MESSAGE {
        return message.to_owned();
    }
    let end = (0..=MAX_MESSAGE).rev().find(|at| message.is_char_boundary(*at)).unwrap_or_default();
    format!("{}.. ({} bytes)", message.get(..end).unwrap_or_default(), message.len())
}
