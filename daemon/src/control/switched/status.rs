//! What the hook of a group was told last, as `status` shows it.

use cutover_core::shell::quoted;
use cutover_engine::clock::rfc3339;
use cutover_engine::world::World;
use serde::{Deserialize, Serialize};

use crate::control::Control;
use crate::journal::{JournalError, Told};

/// The hook `switched` of a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HookStatus {
    /// The slot that it was told to have traffic.
    pub to: String,
    /// How much of the traffic, in percent.
    pub share: f64,
    /// When it was told.
    pub told: String,
    /// Since when it runs. `None`: it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_since: Option<String>,
    /// Why it has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// The command that runs it again, if it has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The command that runs the hook of a group again.
pub(super) fn again(group: &str) -> String {
    format!("cutover run {} {}", quoted(group), super::NAME)
}

impl<W: World> Control<W> {
    /// The hook of a group. `None`: the group has none, or nothing is known of it yet.
    pub(in crate::control) async fn hook(&self, group: &str) -> Result<Option<HookStatus>, JournalError> {
        if !self.policy(group).is_ok_and(|policy| policy.switched.is_some()) {
            return Ok(None);
        }
        let Some(Told { to, share, at, failed, .. }) = self.journal.told(group).await? else {
            return Ok(None);
        };
        let running_since = {
            let hooks = self.hooks.groups.lock();
            let telling = hooks.get(group).and_then(|its| its.telling.as_ref());
            telling.and_then(|telling| telling.since).map(rfc3339)
        };
        let next = failed.is_some().then(|| again(group));
        let (share, told) = (f64::from(share), rfc3339(at));
        Ok(Some(HookStatus { to, share, told, running_since, failed, next }))
    }
}
