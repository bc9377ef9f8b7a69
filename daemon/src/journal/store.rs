//! The stores of the journal, as one type.

use cutover_core::deployment::{State, Time};
use cutover_engine::journal::Deployment;
use tokio::sync::watch;

use super::{
    Act, Beginning, Entry, EtcdJournal, Freeze, JournalError, LeftCommand, Record, SqliteJournal, Superseded,
    Switch, Told,
};
use crate::command::Leader;

/// An open journal. Clones share it.
#[derive(Clone, Debug)]
pub enum Store {
    /// On the disk of this host.
    Sqlite(SqliteJournal),
    /// In etcd, for several daemons.
    Etcd(EtcdJournal),
}

/// Calls the same asynchronous method of each store. The futures of a client of gRPC are large, so they are not part of those of
/// their callers.
macro_rules! of_each {
    ($store:expr, $journal:ident => $call:expr) => {
        match $store {
            Store::Sqlite($journal) => $call.await,
            Store::Etcd($journal) => Box::pin($call).await,
        }
    };
}

impl Store {
    /// A receiver that changes with each new record.
    pub fn changes(&self) -> watch::Receiver<i64> {
        match self {
            Self::Sqlite(journal) => journal.changes(),
            Self::Etcd(journal) => journal.changes(),
        }
    }

    /// Writes a new deployment and its first record. Fails with [`JournalError::Open`] if the group has an open deployment.
    pub async fn begin(
        &self,
        deployment: Deployment,
        state: &State,
        message: &str,
    ) -> Result<Deployment, JournalError> {
        of_each!(self, journal => journal.begin(deployment, state, message))
    }

    /// Like [`Store::begin`], and ends the deployment before it. Both are written, or neither.
    pub async fn begin_after(
        &self,
        superseded: Superseded,
        deployment: Deployment,
        state: &State,
        message: &str,
    ) -> Result<Deployment, JournalError> {
        let beginning = Beginning::new(Some(superseded), deployment.clone(), state, message);
        self.begin_all(vec![beginning]).await?;
        Ok(deployment)
    }

    /// Writes new deployments and their first records, and ends the deployments before them. All is written, or nothing.
    pub async fn begin_all(&self, beginnings: Vec<Beginning>) -> Result<(), JournalError> {
        of_each!(self, journal => journal.begin_all(beginnings))
    }

    /// An unused id: `wanted`, or `wanted` with a number.
    pub async fn free_id(&self, wanted: String) -> Result<String, JournalError> {
        of_each!(self, journal => journal.free_id(wanted))
    }

    /// Writes a transition. It is stored when this returns.
    pub async fn append(&self, id: &str, at: Time, state: &State, message: &str) -> Result<(), JournalError> {
        of_each!(self, journal => journal.append(id, at, state, message))
    }

    /// Writes a message without a change of state.
    pub async fn note(&self, id: &str, at: Time, phase: &str, message: &str) -> Result<(), JournalError> {
        of_each!(self, journal => journal.note(id, at, phase, message))
    }

    /// Open deployments, except those that cannot be read, see [`Store::close_unreadable`].
    pub async fn open_deployments(&self) -> Result<Vec<Entry>, JournalError> {
        of_each!(self, journal => journal.open_deployments())
    }

    /// Closes the open deployments that cannot be read, as stuck. Returns their ids and the reasons.
    pub async fn close_unreadable(&self, now: Time) -> Result<Vec<(String, String)>, JournalError> {
        of_each!(self, journal => journal.close_unreadable(now))
    }

    /// A deployment by its id.
    pub async fn entry(&self, id: &str) -> Result<Option<Entry>, JournalError> {
        of_each!(self, journal => journal.entry(id))
    }

    /// Readable deployments of one group or of all, the newest first.
    pub async fn history(&self, group: Option<&str>, limit: u32) -> Result<Vec<Entry>, JournalError> {
        of_each!(self, journal => journal.history(group, limit))
    }

    /// The records of a deployment after the sequence number `after`.
    pub async fn records(&self, id: &str, after: i64) -> Result<Vec<Record>, JournalError> {
        of_each!(self, journal => journal.records(id, after))
    }

    /// The version in a slot, as far as the journal knows: the last one that was started there and has not been rolled back or
    /// stopped.
    pub async fn version_in(&self, group: &str, slot: &str) -> Result<Option<String>, JournalError> {
        of_each!(self, journal => journal.version_in(group, slot))
    }

    /// Deletes a group's closed deployments except the last `kept`, and those that show which version is in a slot. Returns the
    /// ids of the deleted ones.
    pub async fn prune(&self, group: &str, kept: u32) -> Result<Vec<String>, JournalError> {
        of_each!(self, journal => journal.prune(group, kept))
    }

    /// Records a switch by hand.
    pub async fn switched(&self, switch: Switch) -> Result<(), JournalError> {
        of_each!(self, journal => journal.switched(switch))
    }

    /// Switches by hand of one group or of all, the newest first.
    pub async fn switches(&self, group: Option<&str>, limit: u32) -> Result<Vec<Switch>, JournalError> {
        of_each!(self, journal => journal.switches(group, limit))
    }

    /// Records what somebody did by hand, beside switches.
    pub async fn acted(&self, act: Act) -> Result<(), JournalError> {
        of_each!(self, journal => journal.acted(act))
    }

    /// Acts on one group, those on all groups included, or all acts. The newest come first.
    pub async fn acts(&self, group: Option<&str>, limit: u32) -> Result<Vec<Act>, JournalError> {
        of_each!(self, journal => journal.acts(group, limit))
    }

    /// What the hook of a group was told last.
    pub async fn told(&self, group: &str) -> Result<Option<Told>, JournalError> {
        of_each!(self, journal => journal.told(group))
    }

    /// Records what the hook of a group was told.
    pub async fn tell(&self, told: Told) -> Result<(), JournalError> {
        of_each!(self, journal => journal.tell(told))
    }

    /// Records a freeze, in place of the one that the group has.
    pub async fn freeze(&self, freeze: Freeze) -> Result<(), JournalError> {
        of_each!(self, journal => journal.freeze(freeze))
    }

    /// Removes the freeze of a group, or the one of all groups. Returns whether there was one.
    pub async fn unfreeze(&self, group: Option<&str>) -> Result<bool, JournalError> {
        of_each!(self, journal => journal.unfreeze(group))
    }

    /// All freezes, those that have run out included.
    pub async fn freezes(&self) -> Result<Vec<Freeze>, JournalError> {
        of_each!(self, journal => journal.freezes())
    }

    /// Records a command that has started.
    pub async fn command_started(&self, id: &str, name: &str, leader: &Leader) -> Result<(), JournalError> {
        of_each!(self, journal => journal.command_started(id, name, leader))
    }

    /// Removes the records of commands of a deployment that have ended.
    pub async fn commands_ended(&self, id: &str, leaders: Vec<Leader>) -> Result<(), JournalError> {
        of_each!(self, journal => journal.commands_ended(id, leaders))
    }

    /// Deployments with commands that are not known to have ended.
    pub async fn deployments_with_commands(&self) -> Result<Vec<String>, JournalError> {
        of_each!(self, journal => journal.deployments_with_commands())
    }

    /// Commands of a deployment that are not known to have ended, on any host.
    pub async fn commands(&self, id: &str) -> Result<Vec<LeftCommand>, JournalError> {
        of_each!(self, journal => journal.commands(id))
    }

    /// Removes the record of a command that is over on another host.
    pub async fn command_elsewhere_over(&self, id: &str, left: &LeftCommand) -> Result<(), JournalError> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Etcd(journal) => Box::pin(journal.command_elsewhere_over(id, left)).await,
        }
    }

    /// Records that a switch by hand of this group begins. If this daemon dies, the next leader fences the group.
    pub async fn moving(&self, group: &str) -> Result<(), JournalError> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Etcd(journal) => Box::pin(journal.moving(group)).await,
        }
    }

    /// Records that no switch by hand of this group is in transit.
    pub async fn moved(&self, group: &str) -> Result<(), JournalError> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Etcd(journal) => Box::pin(journal.moved(group)).await,
        }
    }

    /// The groups with a switch by hand that has not ended.
    pub async fn all_moving(&self) -> Result<Vec<String>, JournalError> {
        match self {
            Self::Sqlite(_) => Ok(Vec::new()),
            Self::Etcd(journal) => Box::pin(journal.all_moving()).await,
        }
    }

    /// Whether this daemon certainly leads, so it may change the world.
    pub fn leads(&self) -> bool {
        match self {
            Self::Sqlite(_) => true,
            Self::Etcd(journal) => journal.term().is_some_and(|term| term.is_certain()),
        }
    }

    /// The same journal for a driver, which must not write in a later term.
    pub fn pinned(&self) -> Self {
        match self {
            Self::Sqlite(journal) => Self::Sqlite(journal.clone()),
            Self::Etcd(journal) => Self::Etcd(journal.pinned()),
        }
    }
}

impl From<EtcdJournal> for Store {
    fn from(journal: EtcdJournal) -> Self {
        Self::Etcd(journal)
    }
}

impl From<SqliteJournal> for Store {
    fn from(journal: SqliteJournal) -> Self {
        Self::Sqlite(journal)
    }
}
