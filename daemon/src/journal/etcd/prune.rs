//! Deletes old deployments. It keeps the last ones of each group, and those that show which version is in a slot.

use std::collections::BTreeMap;

use etcd_client::{Compare, CompareOp, DeleteOptions, Txn, TxnOp};

use super::value::Summary;
use super::{EtcdJournal, JournalError};

impl EtcdJournal {
    /// Deletes a group's closed deployments except the last `kept`. Returns the ids of the deleted ones.
    pub async fn prune(&self, group: &str, kept: u32) -> Result<Vec<String>, JournalError> {
        let all = self.summaries(group).await?;
        let old: Vec<String> = old(&all, kept).into_iter().map(str::to_owned).collect();
        let keys = &self.shared.keys;
        let folder = || Some(DeleteOptions::new().with_prefix());
        for id in &old {
            self.change(vec![
                TxnOp::delete(keys.records(id), folder()),
                TxnOp::delete(keys.commands(id), folder()),
                TxnOp::delete(keys.summary(group, id), None),
                TxnOp::delete(keys.head(id), None),
                TxnOp::delete(keys.deployment(id), None),
            ])
            .await?;
        }
        Ok(old)
    }

    /// Makes a change in the term of this handle that may be made twice.
    pub(super) async fn change(&self, then: Vec<TxnOp>) -> Result<(), JournalError> {
        let term = self.term().ok_or(JournalError::NotLeading)?;
        let leads = Compare::create_revision(self.shared.keys.leader(), CompareOp::Equal, term.epoch());
        let made = self.shared.members.txn(Txn::new().when(vec![leads]).and_then(then)).await?;
        if !made.succeeded() {
            term.end();
            return Err(JournalError::NotLeading);
        }
        Ok(())
    }
}

/// The deployments to delete. `all`: the oldest first.
fn old(all: &[(String, Summary)], kept: u32) -> Vec<&str> {
    let mut last_started: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, (_, summary)) in all.iter().enumerate() {
        if summary.started {
            last_started.insert(&summary.to, at);
        }
    }
    let closed = all.iter().filter(|(_, summary)| summary.closed).count();
    let surplus = closed.saturating_sub(usize::try_from(kept).unwrap_or(usize::MAX));
    let is_needed = |at: usize, summary: &Summary| {
        let shows_version = last_started.values().any(|last| *last == at);
        // It shows that the version which was started there before is gone.
        let shows_stop =
            summary.stopped && last_started.get(summary.from.as_str()).is_some_and(|last| *last < at);
        shows_version || shows_stop
    };
    let old = all.iter().enumerate().filter(|(_, (_, summary))| summary.closed).take(surplus);
    old.filter(|(at, (_, summary))| !is_needed(*at, summary)).map(|(_, (id, _))| id.as_str()).collect()
}
