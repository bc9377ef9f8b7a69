//! What is fixed for one deployment.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::counters::Counters;

/// What is fixed for one deployment when it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The group.
    pub group: String,
    /// The slot that had the traffic at the start.
    pub from: String,
    /// The slot that gets the new version.
    pub to: String,
    /// Whether there is a command that migrates.
    pub migrate: bool,
    /// Whether there is a command that provisions.
    pub provision: bool,
    /// Whether there is a command that reverts the database.
    pub revert: bool,
    /// Whether there is a command that stops a slot.
    pub decommission: bool,
    /// How long the new slot may take to become healthy.
    pub probe_deadline: Duration,
    /// How long the new slot is watched after the switch.
    pub soak: Duration,
    /// Whether too few requests in the soak count as success.
    pub accept_inconclusive: bool,
    /// How long requests under way may take to end.
    pub drain: Duration,
    /// How long the old slot stays up after that.
    pub warm: Duration,
    /// Counters of the old slot at the start: what it does from then on is what users had.
    pub served: Counters,
}
