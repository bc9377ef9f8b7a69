//! What somebody did by hand that is neither a deployment nor a switch.

use cutover_core::deployment::Time;
use serde::{Deserialize, Serialize};

/// One act: who did what, when, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// The group. `None`: all groups.
    pub group: Option<String>,
    /// When it was done.
    pub at: Time,
    /// What was done, as in `frozen until 2026-05-04T12:00:00Z`.
    pub what: String,
    /// Why; empty if no reason was given.
    pub reason: String,
    /// Who did it.
    pub asked_by: String,
}
