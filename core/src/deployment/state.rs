//! The state of a deployment, as the journal keeps it.

use serde::{Deserialize, Serialize};

use super::marks::Marks;
use super::phase::{Phase, Store};
use crate::verdict::Glance;

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
    /// The step of the traffic, which counts from 0: the one that the new slot has, or is about to get.
    #[serde(default)]
    pub step: usize,
    /// Who has paused the deployment: no more traffic moves to the new slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// What the new version had done for users when this state was recorded. Nothing depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub glance: Option<Glance>,
}

impl State {
    /// A state in which nothing has been done yet.
    pub fn new(phase: Phase) -> Self {
        Self {
            phase,
            migrated: false,
            provisioned: false,
            abort: None,
            marks: None,
            step: 0,
            paused: None,
            glance: None,
        }
    }

    /// A stuck deployment after its group has become well: no operator is needed any more. Other states stay as they are.
    pub fn settled(mut self, how: String) -> Self {
        if let Phase::Stuck { settled, .. } = &mut self.phase {
            *settled = Some(how);
        }
        self
    }

    /// Whether the old slot was unusable just before the switch: it had no healthy server and had given no good answer to a user.
    /// This is the case for a first release, and if the old version was broken.
    pub fn has_nothing_before(&self) -> bool {
        self.marks.as_ref().is_some_and(|marks| !marks.old.was_there())
    }

    /// Whether the new slot has the share of an earlier step.
    pub fn has_share(&self) -> bool {
        self.marks.as_ref().is_some_and(Marks::has_moved)
    }

    /// Whether the work of this state differs from that of the state before, so the driver begins it anew. A pause matters only
    /// to work that would move more traffic.
    pub fn is_other_work(&self, before: &Self) -> bool {
        let waits = matches!(self.phase, Phase::Switching(Store::Reading) | Phase::Soaking { .. });
        self.phase != before.phase || (waits && self.paused != before.paused)
    }
}
