//! The health of the active slot, as `status` shows it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The health of the active slot of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthStatus {
    /// The health.
    pub state: HealthState,
    /// Why it is not healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// The command that helps, or a sentence if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// How well the active slot serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// Not probed yet, or nginx cannot be read.
    #[default]
    Unknown,
    /// As many servers are healthy as `probe.require` says, and its answers keep to their limits.
    Healthy,
    /// Fewer servers are healthy, but one is.
    Degraded,
    /// No server is healthy.
    Dead,
    /// Its answers break a limit, although it passes its probes.
    Bad,
}

impl fmt::Display for HealthState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Dead => "dead",
            Self::Bad => "bad",
        })
    }
}

impl HealthState {
    /// Whether users notice.
    pub(in crate::control) fn is_trouble(self) -> bool {
        matches!(self, Self::Dead | Self::Bad)
    }
}

impl HealthStatus {
    /// The clause with the command that helps; empty if there is none.
    pub fn helps(&self) -> String {
        match self.next.as_deref() {
            Some(command) if command.starts_with("cutover ") => format!("; next, type: {command}"),
            Some(sentence) => format!("; next: {sentence}"),
            None => String::new(),
        }
    }
}
