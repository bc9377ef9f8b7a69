//! Switches by hand that have not ended. The next leader fences their groups.

use etcd_client::{GetOptions, TxnOp};

use super::{EtcdJournal, JournalError};

impl EtcdJournal {
    /// Records that a switch by hand of this group begins.
    pub async fn moving(&self, group: &str) -> Result<(), JournalError> {
        let key = self.shared.keys.moving(group);
        self.change(vec![TxnOp::put(key, self.shared.me.daemon.as_str(), None)]).await
    }

    /// Records that no switch by hand of this group is in transit.
    pub async fn moved(&self, group: &str) -> Result<(), JournalError> {
        self.change(vec![TxnOp::delete(self.shared.keys.moving(group), None)]).await
    }

    /// The groups with a switch by hand that has not ended.
    pub async fn all_moving(&self) -> Result<Vec<String>, JournalError> {
        let folder = self.shared.keys.all_moving();
        let found = self.all(&folder, GetOptions::new().with_keys_only()).await?;
        let name = |key: &[u8]| {
            let key = String::from_utf8_lossy(key).into_owned();
            self.shared.keys.name_in(&folder, &key).to_owned()
        };
        Ok(found.iter().map(|found| name(found.key())).collect())
    }
}
