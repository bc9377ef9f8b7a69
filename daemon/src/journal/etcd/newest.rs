//! Folders of which the newest values are kept and read.

use etcd_client::{GetOptions, SortOrder, SortTarget, TxnOp};
use serde::de::DeserializeOwned;

use super::value;
use super::{EtcdJournal, MOST_OPERATIONS};
use crate::journal::{JournalError, KEPT_SWITCHES};

impl EtcdJournal {
    /// The values in a folder, the newest first.
    pub(super) async fn newest<T: DeserializeOwned>(
        &self,
        folder: &str,
        limit: u32,
    ) -> Result<Vec<T>, JournalError> {
        let newest = GetOptions::new()
            .with_prefix()
            .with_sort(SortTarget::Create, SortOrder::Descend)
            .with_limit(i64::from(limit.clamp(1, KEPT_SWITCHES)));
        let found = self.shared.members.get(folder, newest).await?;
        let parsed = found.kvs().iter().map(|found| {
            value::read(found.value()).map_err(|why| {
                let key = String::from_utf8_lossy(found.key()).into_owned();
                JournalError::Unreadable { deployment: key, why }
            })
        });
        parsed.take(usize::try_from(limit).unwrap_or(usize::MAX)).collect()
    }

    /// Deletes the oldest values of a folder that has too many.
    pub(super) async fn prune_folder(&self, folder: &str) -> Result<(), JournalError> {
        let count = GetOptions::new().with_prefix().with_count_only();
        let count = self.shared.members.get(folder, count).await?.count();
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
        let found = self.shared.members.get(folder, oldest).await?;
        self.change(found.kvs().iter().map(|found| TxnOp::delete(found.key(), None)).collect()).await
    }
}
