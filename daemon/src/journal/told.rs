//! What the hook `switched` of each group was told last, so that no change of a route is forgotten over a restart.

use cutover_core::deployment::Time;
use cutover_core::fraction::Percent;
use cutover_engine::standing::LastTold;
use serde::{Deserialize, Serialize};

/// A change of a route, as the hook was told it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The group.
    pub group: String,
    /// When it was told.
    pub at: Time,
    /// The slot that had the traffic before, or has the rest of it. Empty if that is not known.
    pub from: String,
    /// The version in that slot. Empty if that is not known.
    pub from_version: String,
    /// The slot that got traffic.
    pub to: String,
    /// The version in that slot. Empty if that is not known.
    pub to_version: String,
    /// How much of the traffic it has.
    pub share: Percent,
    /// Why, in the words that the edge keeps. Empty if it keeps none.
    pub reason: String,
    /// The deployment that was under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// Whether the hook was begun and is not known to have ended. It may have been told this, and is told again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_begun: bool,
    /// Why the hook has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

impl Told {
    /// What is compared with the route.
    pub fn last_told(&self) -> LastTold<'_> {
        let Self { from, from_version, to, to_version, share, .. } = self;
        LastTold { from, from_version, to, to_version, share: *share }
    }
}
