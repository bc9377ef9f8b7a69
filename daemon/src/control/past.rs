//! What was: earlier deployments, switches by hand, and from where on an operator follows.

use cutover_core::deployment::{Outcome, Phase};
use cutover_engine::clock::rfc3339;
use cutover_engine::world::World;
use serde::{Deserialize, Serialize};

use super::running::SETTLING;
use super::{Control, DeploymentStatus, Refusal};
use crate::journal::{Entry, JournalError, Switch};

/// A switch by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchStatus {
    /// The group.
    pub group: String,
    /// When it was made.
    pub switched: String,
    /// The slot that had the traffic.
    pub from: String,
    /// The slot that got it.
    pub to: String,
    /// The reason.
    pub reason: String,
    /// Who requested it.
    pub asked_by: String,
}

impl From<Switch> for SwitchStatus {
    fn from(Switch { group, at, from, to, reason, asked_by }: Switch) -> Self {
        Self { group, switched: rfc3339(at), from, to, reason, asked_by }
    }
}
impl<W: World> Control<W> {
    /// Deployments of one group or of all, the newest first.
    pub async fn history(&self, group: Option<&str>, limit: u32) -> Result<Vec<DeploymentStatus>, Refusal> {
        if let Some(group) = group {
            self.policy_or_last(group).await?;
        }
        let now = self.clock.now();
        let mut all = Vec::new();
        for entry in self.journal.history(group, limit).await? {
            let ended = self.ended(&entry).await?;
            all.push(DeploymentStatus { ended, ..DeploymentStatus::of(entry, now) });
        }
        Ok(all)
    }

    /// When a deployment had its outcome. A completed one is kept warm after that.
    pub(super) async fn ended(&self, entry: &Entry) -> Result<Option<String>, JournalError> {
        if entry.outcome.is_none() {
            return Ok(None);
        }
        let records = self.journal.records(&entry.deployment.id, 0).await?;
        Ok(records.iter().rfind(|record| record.outcome.is_some()).map(|record| rfc3339(record.at)))
    }

    /// Switches by hand of one group or of all, the newest first.
    pub async fn switches(&self, group: Option<&str>, limit: u32) -> Result<Vec<SwitchStatus>, Refusal> {
        if let Some(group) = group {
            self.policy_or_last(group).await?;
        }
        Ok(self.journal.switches(group, limit).await?.into_iter().map(SwitchStatus::from).collect())
    }

    /// Sequence number of the last event of the group's last deployment; 0 if there is none.
    /// An operator who wants back does not wait for a disk that hangs: then it is 0, too, and a follower sees all events.
    pub async fn last_event(&self, group: &str) -> Result<i64, Refusal> {
        let reading = async {
            let Some(last) = self.journal.history(Some(group), 1).await?.pop() else { return Ok(0) };
            let records = self.journal.records(&last.deployment.id, 0).await?;
            Ok(records.last().map_or(0, |record| record.seq))
        };
        tokio::time::timeout(SETTLING, reading).await.unwrap_or(Ok(0))
    }

    /// The sequence number after which to follow a deployment that an operator has aborted. If that has ended only a command of
    /// it, its outcome is the one that it had before.
    pub async fn before_outcome(&self, id: &str, after: i64) -> Result<i64, Refusal> {
        let after = self.past_completion(id, after).await?;
        let Some(entry) = self.journal.entry(id).await? else { return Ok(after) };
        if !matches!(entry.state.phase, Phase::Warm { .. }) {
            return Ok(after);
        }
        let records = self.journal.records(id, 0).await?;
        Ok(records.iter().rfind(|record| record.outcome.is_some()).map_or(after, |record| record.seq - 1))
    }

    /// The sequence number after which to follow a deployment that is being undone. It skips a completion just before the request,
    /// because that is not the outcome that the operator waits for.
    pub async fn past_completion(&self, id: &str, after: i64) -> Result<i64, Refusal> {
        let reading = self.journal.records(id, after);
        let Ok(records) = tokio::time::timeout(SETTLING, reading).await else { return Ok(after) };
        let records = records?;
        let completed = records.iter().rfind(|record| record.outcome == Some(Outcome::Completed));
        Ok(completed.map_or(after, |record| record.seq))
    }
}
