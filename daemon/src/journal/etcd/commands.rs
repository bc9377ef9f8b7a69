//! Commands that are not known to have ended, with the host on which they run.

use std::collections::BTreeSet;

use etcd_client::{GetOptions, TxnOp};
use xxhash_rust::xxh3::xxh3_64;

use super::value::{self, Command};
use super::{EtcdJournal, Write};
use crate::command::Leader;
use crate::journal::{JournalError, LeftCommand};

impl EtcdJournal {
    /// Records a command that has started on this host.
    pub async fn command_started(&self, id: &str, name: &str, leader: &Leader) -> Result<(), JournalError> {
        let host = self.shared.me.host.clone();
        let key = self.shared.keys.command(id, &host, &name_of(leader));
        let command = Command { name: name.to_owned(), host, pid: leader.pid, birth: leader.birth.clone() };
        let then = vec![TxnOp::put(key.as_str(), value::write(&command), None)];
        self.write(Write { mark: key, when: Vec::new(), then }).await.map(drop)
    }

    /// Removes the records of commands of a deployment that have ended on this host.
    pub async fn commands_ended(&self, id: &str, leaders: Vec<Leader>) -> Result<(), JournalError> {
        let host = &self.shared.me.host;
        let keys = leaders.iter().map(|leader| self.shared.keys.command(id, host, &name_of(leader)));
        let then: Vec<TxnOp> = keys.map(|key| TxnOp::delete(key, None)).collect();
        if then.is_empty() { Ok(()) } else { self.change(then).await }
    }

    /// Removes the record of a command on another host.
    pub async fn command_elsewhere_over(&self, id: &str, left: &LeftCommand) -> Result<(), JournalError> {
        let Some(host) = &left.elsewhere else { return Ok(()) };
        let key = self.shared.keys.command(id, host, &name_of(&left.leader));
        self.change(vec![TxnOp::delete(key, None)]).await
    }

    /// Deployments with commands that are not known to have ended.
    pub async fn deployments_with_commands(&self) -> Result<Vec<String>, JournalError> {
        let folder = self.shared.keys.all_commands();
        let found = self.all(&folder, GetOptions::new().with_keys_only()).await?;
        let ids = found.iter().filter_map(|found| {
            let key = String::from_utf8_lossy(found.key()).into_owned();
            Some(self.shared.keys.name_in(&folder, &key).split_once('/')?.0.to_owned())
        });
        Ok(ids.collect::<BTreeSet<_>>().into_iter().collect())
    }

    /// Commands of a deployment that are not known to have ended, on any host.
    pub async fn commands(&self, id: &str) -> Result<Vec<LeftCommand>, JournalError> {
        let found = self.all(&self.shared.keys.commands(id), GetOptions::new()).await?;
        let parsed = found.iter().map(|found| {
            let command = value::read(found.value());
            let Command { name, host, pid, birth } =
                command.map_err(|why| super::read::unreadable(id, why))?;
            let elsewhere = Some(host).filter(|host| *host != self.shared.me.host);
            Ok(LeftCommand { name, leader: Leader { pid, birth }, elsewhere })
        });
        parsed.collect()
    }
}

fn name_of(Leader { pid, birth }: &Leader) -> String {
    format!("{pid}-{:016x}", xxh3_64(birth.as_bytes()))
}
