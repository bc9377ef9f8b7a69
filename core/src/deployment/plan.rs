//! The plan: the slots, steps and time limits of one deployment.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Companion, Steps};
use crate::verdict::evidence::Evidence;
use crate::verdict::reading::Sample;

/// The fixed part of a deployment. It does not change after the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The group's name.
    pub group: String,
    /// The slot that had the traffic at the start.
    pub from: String,
    /// The slot that gets the new version.
    pub to: String,
    /// Whether the group has a `migrate` command.
    pub migrate: bool,
    /// Whether the group has a `provision` command.
    pub provision: bool,
    /// Whether the group has a `revert` command.
    pub revert: bool,
    /// Whether the group has a `decommission` command.
    pub decommission: bool,
    /// How long the new slot may take to become healthy.
    pub probe_deadline: Duration,
    /// The steps before the new slot has all the traffic.
    #[serde(default)]
    pub steps: Steps,
    /// How long the daemon watches the new slot once it has all the traffic.
    pub soak: Duration,
    /// How much longer a soak without a verdict takes at most.
    #[serde(default)]
    pub extend: Duration,
    /// Whether a soak with too little evidence counts as success.
    pub accept_inconclusive: bool,
    /// How long unfinished requests may take to end.
    pub drain: Duration,
    /// How long the old slot stays up after the drain.
    pub warm: Duration,
    /// Counters of the old slot at the start, by edge. Marks count what it served from there on.
    #[serde(default, deserialize_with = "served_by_edge")]
    pub served: BTreeMap<String, Sample>,
    /// Whether nothing but probes shows how the new version does: the edge counts no answers, and nobody else does.
    #[serde(default)]
    pub probes_only: bool,
    /// What the old slot did in the last minutes before the start. The soak compares with that, too.
    #[serde(default)]
    pub known: Evidence,
    /// Edges that did not answer at the start. The deployment leaves them as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<String>,
    /// The deployments of other groups that move together with this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<Companion>,
}

/// The counters by edge. A deployment that began under an older version has the counters of one edge without its name; they
/// are left out, so that it compares with fewer figures.
fn served_by_edge<'de, D: Deserializer<'de>>(input: D) -> Result<BTreeMap<String, Sample>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Served {
        ByEdge(BTreeMap<String, Sample>),
        OfOne(IgnoredAny),
    }
    Ok(match Served::deserialize(input)? {
        Served::ByEdge(edges) => edges,
        Served::OfOne(_) => BTreeMap::new(),
    })
}
