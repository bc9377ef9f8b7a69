//! What hooks were told last.

use etcd_client::{GetOptions, TxnOp};

use super::{EtcdJournal, value};
use crate::journal::{JournalError, Told};

impl EtcdJournal {
    /// What the hook of a group was told last. `None`: nothing, or something that this version cannot read.
    pub async fn told(&self, group: &str) -> Result<Option<Told>, JournalError> {
        let found = self.shared.members.get(&self.shared.keys.told(group), GetOptions::new()).await?;
        Ok(found.kvs().first().and_then(|found| value::read(found.value()).ok()))
    }

    /// Records what the hook of a group was told.
    pub async fn tell(&self, told: Told) -> Result<(), JournalError> {
        let key = self.shared.keys.told(&told.group);
        self.change(vec![TxnOp::put(key, value::write(&told), None)]).await
    }
}
