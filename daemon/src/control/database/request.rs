//! What an operator asks of a database.

use serde::{Deserialize, Serialize};

/// A request to revert.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RevertRequest {
    /// The deployment whose migrations are reverted. `None`: the one that applied the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// The version whose folder has the files. `None`: the one that is recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether the operator consents to what would be lost.
    pub yes: bool,
    /// The reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
