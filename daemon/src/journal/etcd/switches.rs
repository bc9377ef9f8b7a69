//! Switches by hand.

use etcd_client::TxnOp;

use super::value;
use super::{EtcdJournal, Write, name_of};
use crate::journal::{JournalError, Switch};

impl EtcdJournal {
    /// Records a switch by hand.
    pub async fn switched(&self, switch: Switch) -> Result<(), JournalError> {
        let group = switch.group.clone();
        let content = value::write(&switch);
        let key = self.shared.keys.switch(&group, &name_of(switch.at, &content));
        let then = vec![TxnOp::put(key.as_str(), content, None)];
        self.write(Write { mark: key, when: Vec::new(), then }).await?;
        self.prune_folder(&self.shared.keys.switches(&group)).await
    }

    /// Switches by hand of one group or of all, the newest first.
    pub async fn switches(&self, group: Option<&str>, limit: u32) -> Result<Vec<Switch>, JournalError> {
        let keys = &self.shared.keys;
        let folder = group.map_or_else(|| keys.all_switches(), |group| keys.switches(group));
        self.newest(&folder, limit).await
    }
}
