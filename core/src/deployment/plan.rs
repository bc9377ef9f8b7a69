//! The plan: the slots, steps and time limits of one deployment.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Steps;
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
    /// Counters of the old slot at the start. Marks count what it served from there on.
    pub served: Sample,
    /// What the old slot did in the last minutes before the start. The soak compares with that, too.
    #[serde(default)]
    pub known: Evidence,
}
