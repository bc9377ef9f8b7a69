//! Freezes of groups, and of all groups.

use etcd_client::{GetOptions, TxnOp};

use super::value;
use super::{EtcdJournal, JournalError};
use crate::journal::Freeze;

impl EtcdJournal {
    /// Records a freeze, in place of the one that the group has.
    pub async fn freeze(&self, freeze: Freeze) -> Result<(), JournalError> {
        let key = self.shared.keys.freeze(freeze.group.as_deref());
        self.change(vec![TxnOp::put(key, value::write(&freeze), None)]).await
    }

    /// Removes the freeze of a group, or the one of all groups. Returns whether there was one.
    pub async fn unfreeze(&self, group: Option<&str>) -> Result<bool, JournalError> {
        let key = self.shared.keys.freeze(group);
        let was_there = self.exists(&key).await?;
        self.change(vec![TxnOp::delete(key, None)]).await?;
        Ok(was_there)
    }

    /// All freezes, those that have run out included.
    pub async fn freezes(&self) -> Result<Vec<Freeze>, JournalError> {
        let found = self.all(&self.shared.keys.all_freezes(), GetOptions::new()).await?;
        let read = |found: &etcd_client::KeyValue| {
            value::read(found.value()).map_err(|why| {
                let key = String::from_utf8_lossy(found.key()).into_owned();
                JournalError::Unreadable { deployment: key, why }
            })
        };
        found.iter().map(read).collect()
    }
}
