//! Switches by hand.

use etcd_client::{GetOptions, SortOrder, SortTarget, TxnOp};

use super::value;
use super::{EtcdJournal, MOST_OPERATIONS, Write, name_of};
use crate::journal::{JournalError, KEPT_SWITCHES, Switch};

impl EtcdJournal {
    /// Records a switch by hand.
    pub async fn switched(&self, switch: Switch) -> Result<(), JournalError> {
        let group = switch.group.clone();
        let content = value::write(&switch);
        let key = self.shared.keys.switch(&group, &name_of(switch.at, &content));
        let then = vec![TxnOp::put(key.as_str(), content, None)];
        self.write(Write { mark: key, when: Vec::new(), then }).await?;
        self.prune_switches(&group).await
    }

    /// Switches by hand of one group or of all, the newest first.
    pub async fn switches(&self, group: Option<&str>, limit: u32) -> Result<Vec<Switch>, JournalError> {
        let keys = &self.shared.keys;
        let folder = group.map_or_else(|| keys.all_switches(), |group| keys.switches(group));
        let newest = GetOptions::new()
            .with_prefix()
            .with_sort(SortTarget::Create, SortOrder::Descend)
            .with_limit(i64::from(limit.clamp(1, KEPT_SWITCHES)));
        let found = self.shared.members.get(&folder, newest).await?;
        let parsed = found.kvs().iter().map(|found| {
            value::read(found.value()).map_err(|why| {
                let key = String::from_utf8_lossy(found.key()).into_owned();
                JournalError::Unreadable { deployment: key, why }
            })
        });
        parsed.take(usize::try_from(limit).unwrap_or(usize::MAX)).collect()
    }

    async fn prune_switches(&self, group: &str) -> Result<(), JournalError> {
        let folder = self.shared.keys.switches(group);
        let count = GetOptions::new().with_prefix().with_count_only();
        let count = self.shared.members.get(&folder, count).await?.count();
        let surplus = count.saturating_sub(i64::from(KEPT_SWITCHES));
        if surplus <= 0 {
            return Ok(());
        }
        let most = i64::try_from(MOST_OPERATIONS).unwrap_or(i64::MAX);
        let oldest = GetOptions::new()
            .with_prefix()
            .with_keys_only()
            .with_sort(SortTarget::Create, SortOrder::Ascend)
            .with_limit(surplus.min(most));
        let found = self.shared.members.get(&folder, oldest).await?;
        self.change(found.kvs().iter().map(|found| TxnOp::delete(found.key(), None)).collect()).await
    }
}
