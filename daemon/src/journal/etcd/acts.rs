//! What was done by hand, beside switches.

use std::cmp::Reverse;

use etcd_client::TxnOp;

use super::value;
use super::{EtcdJournal, Write, name_of};
use crate::journal::{Act, JournalError};

impl EtcdJournal {
    /// Records an act.
    pub async fn acted(&self, act: Act) -> Result<(), JournalError> {
        let folder = self.shared.keys.acts(act.group.as_deref());
        let content = value::write(&act);
        let key = format!("{folder}{}", name_of(act.at, &content));
        let then = vec![TxnOp::put(key.as_str(), content, None)];
        self.write(Write { mark: key, when: Vec::new(), then }).await?;
        self.prune_folder(&folder).await
    }

    /// Acts on one group, those on all groups included, or all acts. The newest come first.
    pub async fn acts(&self, group: Option<&str>, limit: u32) -> Result<Vec<Act>, JournalError> {
        let keys = &self.shared.keys;
        let Some(group) = group else { return self.newest(&keys.all_acts(), limit).await };
        let mut acts: Vec<Act> = self.newest(&keys.acts(Some(group)), limit).await?;
        acts.extend(self.newest::<Act>(&keys.acts(None), limit).await?);
        acts.sort_by_key(|act| Reverse(act.at));
        acts.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(acts)
    }
}
