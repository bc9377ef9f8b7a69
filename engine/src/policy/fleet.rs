//! `[group.NAME.fleet]`: how several edges move together.

use serde::{Deserialize, Serialize};

use super::value::{Duration, not_zero};

/// `[group.NAME.fleet]`. It matters only to a group with several edges.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FleetPolicy {
    /// In this time all edges must have moved, or all go back. While a new version is watched, an edge may be away so long.
    #[serde(deserialize_with = "not_zero")]
    pub patience: Duration,
    /// What a deployment does if an edge does not answer when it begins.
    pub on_missing: OnMissing,
}

/// Whether an edge is one of these. No name stands for all edges.
pub fn is_among(names: &[String], edge: &str) -> bool {
    names.is_empty() || names.iter().any(|name| name == edge)
}

/// What a deployment does without an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnMissing {
    /// It does not begin.
    Refuse,
    /// It begins without the edge, which follows when it is back.
    Exclude,
}

impl Default for FleetPolicy {
    fn default() -> Self {
        Self { patience: Duration::seconds(5), on_missing: OnMissing::Refuse }
    }
}
