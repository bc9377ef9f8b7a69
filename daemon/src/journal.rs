//! The journal: the state of each deployment, stored before the effect of that state begins.
//!
//! A record holds the state after a transition and is stored before the work of the next phase begins. After a crash, the daemon
//! resumes an open deployment from its last record. Notes are records without a state. A group has at most one open deployment.

use std::path::PathBuf;

use cutover_core::deployment::{Outcome, Phase, State, Time};
use cutover_core::verdict::Glance;
use cutover_engine::journal::Deployment;
use serde::{Deserialize, Serialize};

use crate::command::Leader;

mod act;
mod beginning;
mod engine;
mod etcd;
mod freeze;
mod sqlite;
mod store;
#[cfg(test)]
mod suite;
mod superseded;
mod told;

pub use act::Act;
pub use beginning::Beginning;
pub use etcd::{EtcdError, EtcdJournal, Identity, Leads, Settings, Term};
pub use freeze::Freeze;
pub use sqlite::{Peeked, SqliteJournal, peek};
pub use store::Store;
pub use superseded::Superseded;
pub use told::Told;

/// Number of closed deployments that are kept for each group.
pub const KEPT: u32 = 50;

/// Number of switches by hand, and of other acts, that are kept for each group.
const KEPT_SWITCHES: u32 = 1000;

/// Why the journal failed. The text completes "journal: ..".
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The database failed.
    #[error("the database {}: {source}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: rusqlite::Error,
    },
    /// The file is damaged, is not a journal, or has another version.
    #[error("{} {what}", path.display())]
    Unrecognised {
        /// The file.
        path: PathBuf,
        /// The reason.
        what: String,
    },
    /// This version cannot read a row.
    #[error("record of deployment \"{deployment}\" cannot be read: {why}")]
    Unreadable {
        /// The deployment.
        deployment: String,
        /// The reason.
        why: String,
    },
    /// etcd failed.
    #[error("{0}")]
    Etcd(#[from] EtcdError),
    /// This daemon does not lead, so it writes nothing.
    #[error("this daemon does not lead")]
    NotLeading,
    /// The journal has no such deployment.
    #[error("no deployment \"{0}\" in the journal")]
    Unknown(String),
    /// Other writes have changed the deployment again and again.
    #[error("deployment \"{0}\" was changed by another request at the same time: try again")]
    Changed(String),
    /// Another deployment of the group is open.
    #[error("deployment \"{0}\" has not ended")]
    Open(String),
}

impl JournalError {
    /// Whether the store did not answer, so that the same call may succeed later.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Etcd(EtcdError::Away(_)))
    }
}

/// A deployment and its last state.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The deployment.
    pub deployment: Deployment,
    /// Its state.
    pub state: State,
    /// Its outcome for the operator who waited. A later rollback may change it.
    pub outcome: Option<Outcome>,
    /// The last record's message.
    pub message: String,
    /// When the last record was written.
    pub updated: Time,
}

/// One record: a transition, or a note.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Sequence number, increasing over all deployments.
    pub seq: i64,
    /// When it was written.
    pub at: Time,
    /// Name of the phase.
    pub phase: String,
    /// The message for people.
    pub message: String,
    /// The outcome, in the record that ends the deployment for a waiting operator.
    pub outcome: Option<Outcome>,
    /// What the new version had done, in a transition after the switch.
    pub glance: Option<Glance>,
    /// Failed tries of the current step.
    pub tries: u32,
}

/// A command that is not known to have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftCommand {
    /// Its name.
    pub name: String,
    /// Its process.
    pub leader: Leader,
    /// The host on which it runs, if that is another one.
    pub elsewhere: Option<String>,
}

/// A switch by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// The group.
    pub group: String,
    /// When it was made.
    pub at: Time,
    /// The slot that had the traffic.
    pub from: String,
    /// The slot that got it.
    pub to: String,
    /// The reason.
    pub reason: String,
    /// Who requested it.
    pub asked_by: String,
}

/// The last state of a deployment that this version cannot read, and its message.
fn unreadable_state(why: &str) -> (State, String) {
    let reason = format!("its record cannot be read by this version of cutover: {why}");
    let next = "cutover status".to_owned();
    let message = format!("{reason}; next, type: {next}");
    (State::new(Phase::stuck(reason, next)), message)
}
