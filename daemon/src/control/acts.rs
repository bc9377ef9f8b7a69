//! What operators did by hand that is neither a deployment nor a switch: the journal keeps who, why and when.

use cutover_core::deployment::Time;
use cutover_engine::clock::rfc3339;
use cutover_engine::world::World;
use serde::{Deserialize, Serialize};

use super::{Control, Refusal};
use crate::journal::Act;

/// An act, as the control API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActStatus {
    /// The group. `None`: all groups.
    pub group: Option<String>,
    /// When it was done.
    pub done: String,
    /// What was done.
    pub what: String,
    /// Why; empty if no reason was given.
    pub reason: String,
    /// Who did it.
    pub asked_by: String,
}

impl From<Act> for ActStatus {
    fn from(Act { group, at, what, reason, asked_by }: Act) -> Self {
        Self { group, done: rfc3339(at), what, reason, asked_by }
    }
}

impl<W: World> Control<W> {
    /// Records an act that is done. A journal that cannot be written does not undo it, so that failure is only logged.
    pub(super) async fn did(&self, group: Option<&str>, what: &str, (who, reason): (&str, &str)) {
        let at: Time = self.clock.now();
        let (reason, asked_by) = (reason.to_owned(), who.to_owned());
        let act = Act { group: group.map(str::to_owned), at, what: what.to_owned(), reason, asked_by };
        if let Err(error) = self.journal.acted(act).await {
            tracing::warn!(group, what, %error, "failed to record what was done by hand");
        }
    }

    /// Acts on one group, those on all groups included, or all acts. The newest come first.
    pub async fn acts(&self, group: Option<&str>, limit: u32) -> Result<Vec<ActStatus>, Refusal> {
        if let Some(group) = group {
            self.policy_or_last(group).await?;
        }
        Ok(self.journal.acts(group, limit).await?.into_iter().map(ActStatus::from).collect())
    }
}
