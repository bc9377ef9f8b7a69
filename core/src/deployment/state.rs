//! How a deployment stands.

use serde::{Deserialize, Serialize};

use super::marks::Marks;
use super::phase::Phase;

/// Where a deployment is, and what it has done so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The phase.
    pub phase: Phase,
    /// `migrate` of this deployment has succeeded and was not reverted since.
    pub migrated: bool,
    /// The new slot may have been started by this deployment.
    pub provisioned: bool,
    /// An abort was asked for and waits for an effect that must not be cut short.
    pub abort: Option<String>,
    /// What was read just before the switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marks: Option<Marks>,
}

impl State {
    /// Whether the old slot was nothing to go back to just before the switch: no healthy server, and no good answer to a
    /// user. It is so with a first release, and when the old version was broken.
    pub fn has_nothing_before(&self) -> bool {
        self.marks.as_ref().is_some_and(|marks| !marks.old.was_there())
    }
}
