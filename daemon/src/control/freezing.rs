//! Freezes: while one lasts, nothing begins that gives traffic to another version. Going back stays possible.

use cutover_core::api::Group as Seen;
use cutover_core::deployment::{Outcome, Time};
use cutover_engine::clock::rfc3339;
use cutover_engine::policy;
use cutover_engine::world::World;
use serde::{Deserialize, Serialize};

use super::refusal::{Frozen, NotFrozen};
use super::{Control, LOOK_BACK, Refusal};
use crate::journal::Freeze;

/// A freeze, as the control API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreezeStatus {
    /// The group. `None`: all groups.
    pub group: Option<String>,
    /// When it was frozen.
    pub since: String,
    /// When the freeze ends by itself. `None`: when somebody ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Who has frozen it.
    pub who: String,
    /// Why; empty if no reason was given.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl FreezeStatus {
    /// Text as in `group "shop" is frozen until 2026-05-04T12:00:00Z by alice, reason "the sale"`.
    pub fn in_words(&self) -> String {
        let what = match &self.group {
            Some(group) => format!("group \"{group}\" is frozen"),
            None => "all groups are frozen".to_owned(),
        };
        let until = self.until.as_ref().map(|until| format!(" until {until}")).unwrap_or_default();
        let reason =
            if self.reason.is_empty() { String::new() } else { format!(", reason \"{}\"", self.reason) };
        format!("{what}{until} by {}{reason}", self.who)
    }
}

impl From<Freeze> for FreezeStatus {
    fn from(Freeze { group, at, until, who, reason }: Freeze) -> Self {
        Self { group, since: rfc3339(at), until: until.map(rfc3339), who, reason }
    }
}

/// The answer to a request to freeze.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Froze {
    /// The freeze.
    pub freeze: FreezeStatus,
    /// The freeze that it replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<FreezeStatus>,
    /// The deployments that are under way, and go on: group and id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub under_way: Vec<(String, String)>,
}

/// The answer to a request to end a freeze.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thawed {
    /// Whether there was a freeze.
    pub was_frozen: bool,
}

impl<W: World> Control<W> {
    /// Freezes a group, or all groups, in place of the freeze that it has. When this returns, no new deployment begins any more.
    pub async fn freeze(
        &self,
        group: Option<&str>,
        lasts: Option<policy::Duration>,
        (who, reason): (String, String),
    ) -> Result<Froze, Refusal> {
        self.leading()?;
        if let Some(group) = group {
            self.policy_or_last(group).await?;
        }
        let at = self.clock.now();
        let until = lasts.map(|lasts| at.after(lasts.get()));
        let freeze = Freeze { group: group.map(str::to_owned), at, until, who, reason };
        let replaced = {
            // A deployment that has looked for freezes before is in the journal when this goes on.
            let _beginning = self.beginning.lock().await;
            let before = self.freezes(at).await?.into_iter().find(|before| before.group == freeze.group);
            self.journal.freeze(freeze.clone()).await?;
            before
        };
        tracing::info!(group, who = freeze.who, reason = freeze.reason, "frozen");
        let until = until.map(|until| format!(" until {}", rfc3339(until))).unwrap_or_default();
        self.did(group, &format!("frozen{until}"), (&freeze.who, &freeze.reason)).await;
        let mut under_way = Vec::new();
        for entry in self.journal.open_deployments().await? {
            let group = entry.deployment.plan.group;
            if freeze.is_of(&group) && !entry.state.phase.only_watches() {
                under_way.push((group, entry.deployment.id));
            }
        }
        Ok(Froze { freeze: freeze.into(), replaced: replaced.map(FreezeStatus::from), under_way })
    }

    /// Ends the freeze of a group, or the one of all groups. Fails if another freeze keeps it frozen.
    pub async fn unfreeze(
        &self,
        group: Option<&str>,
        (who, reason): (&str, &str),
    ) -> Result<Thawed, Refusal> {
        self.leading()?;
        if let Some(group) = group {
            self.policy_or_last(group).await?;
        }
        let lasting = self.freezes(self.clock.now()).await?;
        let was_frozen = self.journal.unfreeze(group).await?;
        let had_own = lasting.iter().any(|freeze| freeze.group.as_deref() == group);
        let other = lasting.into_iter().find(|freeze| match group {
            Some(_) => freeze.group.is_none(),
            None => freeze.group.is_some(),
        });
        match other {
            Some(freeze) if !had_own => {
                Err(Refusal::NotFrozen(Box::new(NotFrozen { group: group.map(str::to_owned), freeze })))
            }
            _ => {
                let was_frozen = was_frozen && had_own;
                tracing::info!(group, who, reason, "the freeze has ended");
                if was_frozen {
                    self.did(group, "unfrozen", (who, reason)).await;
                }
                Ok(Thawed { was_frozen })
            }
        }
    }

    /// The freezes that last.
    async fn freezes(&self, now: Time) -> Result<Vec<Freeze>, Refusal> {
        let all = self.journal.freezes().await?;
        Ok(all.into_iter().filter(|freeze| freeze.lasts(now)).collect())
    }

    /// The freeze of a group: its own, otherwise the one of all groups.
    pub(super) async fn freeze_of(&self, group: &str) -> Result<Option<Freeze>, Refusal> {
        let lasting = self.freezes(self.clock.now()).await?;
        let of_group = lasting.into_iter().filter(|freeze| freeze.is_of(group));
        Ok(of_group.max_by_key(|freeze| freeze.group.is_some()))
    }

    /// Fails if the group is frozen.
    pub(super) async fn is_not_frozen(&self, group: &str) -> Result<(), Refusal> {
        match self.freeze_of(group).await? {
            Some(freeze) => Err(Refusal::Frozen(Box::new(Frozen { group: group.to_owned(), freeze }))),
            None => Ok(()),
        }
    }

    /// Fails if the group is frozen and a switch to this slot does not lead back.
    pub(super) async fn leads_back_or_is_not_frozen(&self, seen: &Seen, to: &str) -> Result<(), Refusal> {
        let active = &seen.route.active;
        if to == active || self.had_traffic_before(&seen.name, active).await?.as_deref() == Some(to) {
            return Ok(());
        }
        self.is_not_frozen(&seen.name).await
    }

    /// The slot that had the traffic before the active one, as far as the journal knows. `None` if another deployment has used that
    /// slot since.
    async fn had_traffic_before(&self, group: &str, active: &str) -> Result<Option<String>, Refusal> {
        let switched =
            self.journal.switches(Some(group), 1).await?.pop().filter(|switch| switch.to == active);
        let switched = switched.map(|switch| (switch.at, switch.from));
        let history = self.journal.history(Some(group), LOOK_BACK).await?;
        let deployed = history.iter().find(|entry| {
            let took_back = matches!(entry.outcome, Some(Outcome::Failed | Outcome::RolledBack));
            entry.deployment.plan.to == active && !took_back
        });
        let deployed = deployed.map(|entry| (entry.deployment.started, entry.deployment.plan.from.clone()));
        let before = switched.into_iter().chain(deployed).max().filter(|(at, slot)| {
            !history.iter().any(|entry| entry.deployment.plan.to == *slot && entry.deployment.started > *at)
        });
        Ok(before.map(|(_, slot)| slot))
    }
}
