//! The state of a deployment, as the journal keeps it.

use serde::{Deserialize, Serialize};

use super::marks::Marks;
use super::phase::Phase;

/// The phase of a deployment, and what it has done so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The phase.
    pub phase: Phase,
    /// `migrate` of this deployment succeeded and has not been reverted.
    pub migrated: bool,
    /// This deployment may have started the new slot.
    pub provisioned: bool,
    /// The reason of an abort that waits until the current effect ends.
    pub abort: Option<String>,
    /// The route and both slots just before the switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marks: Option<Marks>,
}

impl State {
    /// Whether the old slot was unusable just before the switch: it had no healthy server and had given no good answer to a user.
    /// This is the case for a first release, and if the old version was broken.
    pub fn has_nothing_before(&self) -> bool {
        self.marks.as_ref().is_some_and(|marks| !marks.old.was_there())
    }
}
