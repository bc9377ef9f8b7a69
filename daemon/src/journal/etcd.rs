//! The journal in etcd, for several daemons. One of them leads, and only that one writes.
//!
//! Each write is a transaction that compares the epoch, which is the create revision of the leader's key, so a daemon that no
//! longer leads cannot write. A transaction also creates a key of its own. If its reply was lost it is sent again, and that key
//! shows whether it was made before.

use std::sync::Arc;
use std::time::Duration;

use cutover_core::deployment::{Outcome, State, Time};
use cutover_engine::journal::Deployment;
use etcd_client::{Compare, CompareOp, ConnectOptions, GetOptions, Txn, TxnOp, TxnOpResponse};
use parking_lot::Mutex;
use tokio::sync::watch;
use xxhash_rust::xxh3::xxh3_64;

use super::{Beginning, JournalError, Superseded};

mod acts;
mod commands;
mod election;
mod freezes;
mod keys;
mod members;
mod moving;
mod newest;
mod prune;
mod read;
mod switches;
mod term;
#[cfg(test)]
mod tests;
mod told;
mod unreadable;
mod value;

use keys::Keys;
use members::Members;
use value::{Head, Recorded, Requested, Summary};

pub use election::{Identity, Leads};
pub use term::Term;

/// Most operations of one transaction. etcd takes 128.
const MOST_OPERATIONS: usize = 100;
/// Most bytes of one value. etcd takes 1.5 MiB in one request.
const MAX_VALUE: usize = 1024 * 1024;
/// Tries of a write whose deployment another write has just changed.
const TRIES: u32 = 5;

/// Why a call to etcd failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EtcdError {
    /// No member answers, or those that do are no majority.
    #[error("etcd does not answer: {0}")]
    Away(String),
    /// A member refuses the call.
    #[error("etcd at {endpoint} refuses: {why}")]
    Refused {
        /// The member.
        endpoint: String,
        /// The reason.
        why: String,
    },
    /// A value has more bytes than etcd takes.
    #[error(
        "{what} has {bytes} bytes in JSON, more than the {MAX_VALUE} that one key of etcd may hold: shorten {helps}"
    )]
    TooLarge {
        /// The value.
        what: String,
        /// Its length.
        bytes: usize,
        /// What to shorten.
        helps: &'static str,
    },
}

/// The settings of a store in etcd.
#[derive(Clone)]
pub struct Settings {
    /// The members, as `http://ADDRESS:PORT` or `https://ADDRESS:PORT`.
    pub endpoints: Vec<String>,
    /// The beginning of all keys. It ends with "/".
    pub prefix: String,
    /// How long a leader that dies blocks the next one. Whole seconds.
    pub ttl: Duration,
    /// User and TLS.
    pub options: ConnectOptions,
}

/// An open journal. Clones share it.
#[derive(Clone, Debug)]
pub struct EtcdJournal {
    shared: Arc<Shared>,
    /// The term whose epoch its writes compare. `None`: the current one.
    term: Option<Term>,
}

#[derive(Debug)]
struct Shared {
    members: Members,
    keys: Keys,
    me: Identity,
    ttl: Duration,
    current: Mutex<Option<Term>>,
    leads: watch::Sender<Option<Leads>>,
    last: watch::Sender<i64>,
}

/// A write that is made once, however often it is sent.
struct Write {
    /// The key that it creates.
    mark: String,
    when: Vec<Compare>,
    then: Vec<TxnOp>,
}

/// The operations of a transition.
struct Transition {
    then: Vec<TxnOp>,
    /// The key of its record.
    mark: String,
    /// The change of the key of the group's open deployment.
    open: Option<TxnOp>,
}

/// What became of a write.
enum Wrote {
    /// It was made, now or by an earlier try.
    Done,
    /// A condition does not hold.
    Conflict,
}

impl EtcdJournal {
    /// A journal in etcd. Connects at the first call.
    pub fn new(settings: Settings, me: Identity) -> Self {
        let Settings { endpoints, prefix, ttl, options } = settings;
        // A renewal must reach the third member before the lease is over.
        let limit = ttl / 4;
        let shared = Shared {
            members: Members::new(&endpoints, options, limit),
            keys: Keys::new(&prefix),
            me,
            ttl,
            current: Mutex::default(),
            leads: watch::Sender::new(None),
            last: watch::Sender::new(0),
        };
        Self { shared: Arc::new(shared), term: None }
    }

    /// The same journal, which writes only in the present term.
    pub fn pinned(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), term: self.term() }
    }

    /// The term of this handle.
    pub fn term(&self) -> Option<Term> {
        self.term.clone().or_else(|| self.shared.current.lock().clone())
    }

    /// A receiver that changes with each new record.
    pub fn changes(&self) -> watch::Receiver<i64> {
        self.shared.last.subscribe()
    }

    /// Writes a new deployment and its first record. Fails with [`JournalError::Open`] if the group has an open deployment.
    pub async fn begin(
        &self,
        deployment: Deployment,
        state: &State,
        message: &str,
    ) -> Result<Deployment, JournalError> {
        let beginning = Beginning::new(None, deployment.clone(), state, message);
        self.begin_all(vec![beginning]).await?;
        Ok(deployment)
    }

    /// Writes new deployments and their first records, and ends the deployments before them. All is written, or nothing.
    pub async fn begin_all(&self, beginnings: Vec<Beginning>) -> Result<(), JournalError> {
        let mut all: Option<Write> = None;
        let mut begun = Vec::new();
        for beginning in beginnings {
            begun.push((beginning.deployment.plan.group.clone(), beginning.deployment.id.clone()));
            let (mut when, mut then) = self.end_before(beginning.superseded.as_ref(), &beginning).await?;
            let mark = self.begin_when(&mut when, &mut then, &beginning)?;
            match &mut all {
                // One key is enough to know whether all of it was written.
                Some(all) => {
                    all.when.extend(when);
                    all.then.extend(then);
                }
                None => all = Some(Write { mark, when, then }),
            }
        }
        let Some(all) = all else { return Ok(()) };
        if let Wrote::Done = self.write(all).await? {
            return Ok(());
        }
        for (group, _) in &begun {
            if let Some(open) = self.open_id(group).await? {
                return Err(JournalError::Open(open));
            }
        }
        Err(JournalError::Changed(begun.into_iter().map(|(_, id)| id).next().unwrap_or_default()))
    }

    /// The conditions and operations for the end of the deployment before a new one. Without one, the group has none that is open.
    async fn end_before(
        &self,
        superseded: Option<&Superseded>,
        beginning: &Beginning,
    ) -> Result<(Vec<Compare>, Vec<TxnOp>), JournalError> {
        let keys = &self.shared.keys;
        let head = match superseded {
            Some(superseded) => self.head(&superseded.id).await?.zip(Some(superseded)),
            None => None,
        };
        let Some(((head, summary, revision), superseded)) = head else {
            let open = keys.open(&beginning.deployment.plan.group);
            return Ok((vec![Compare::create_revision(open, CompareOp::Equal, 0)], Vec::new()));
        };
        let Superseded { id, at, before, after, message } = superseded;
        if head.state != json(before) {
            return Err(JournalError::Open(id.clone()));
        }
        // The key of the open deployment is written once, for the next one.
        let ended = self.transition(id, &head.group, &summary, *at, after, message);
        let when = vec![
            Compare::mod_revision(keys.head(id), CompareOp::Equal, revision),
            Compare::value(keys.open(&head.group), CompareOp::Equal, id.as_str()),
        ];
        Ok((when, ended.then))
    }

    /// Adds the operations of a beginning. Returns the key of its record.
    fn begin_when(
        &self,
        when: &mut Vec<Compare>,
        then: &mut Vec<TxnOp>,
        Beginning { deployment, state, message, .. }: &Beginning,
    ) -> Result<String, JournalError> {
        let keys = &self.shared.keys;
        let (id, group) = (deployment.id.clone(), deployment.plan.group.clone());
        let requested = Requested {
            id: id.clone(),
            version: deployment.version.clone(),
            previous: deployment.previous.clone(),
            asked_by: deployment.asked_by.clone(),
            reason: deployment.reason.clone(),
            started: deployment.started,
            plan: json(&deployment.plan),
            policy: json(&deployment.policy),
        };
        let value = value::write(&requested);
        if value.len() > MAX_VALUE {
            let what = format!("deployment \"{id}\" with the policy of group \"{group}\"");
            let helps = "the commands, the variables and the smoke tests of the group";
            return Err(EtcdError::TooLarge { what, bytes: value.len(), helps }.into());
        }
        let nothing = Summary {
            from: deployment.plan.from.clone(),
            to: deployment.plan.to.clone(),
            version: deployment.version.clone(),
            outcome: None,
            closed: false,
            started: false,
            stopped: false,
        };
        let first = self.transition(&id, &group, &nothing, deployment.started, state, message);
        then.push(TxnOp::put(keys.deployment(&id), value, None));
        then.extend(first.then);
        then.push(TxnOp::put(keys.open(&group), id.as_str(), None));
        when.push(Compare::create_revision(keys.deployment(&id), CompareOp::Equal, 0));
        Ok(first.mark)
    }

    /// An unused id: `wanted`, or `wanted` with a number.
    pub async fn free_id(&self, wanted: String) -> Result<String, JournalError> {
        let mut id = wanted.clone();
        let mut number = 1u32;
        while self.exists(&self.shared.keys.deployment(&id)).await? {
            number += 1;
            id = format!("{wanted}-{number}");
        }
        Ok(id)
    }

    /// Writes a transition.
    pub async fn append(&self, id: &str, at: Time, state: &State, message: &str) -> Result<(), JournalError> {
        let keys = &self.shared.keys;
        for _ in 0..TRIES {
            let Some((head, summary, revision)) = self.head(id).await? else {
                return Err(JournalError::Unknown(id.to_owned()));
            };
            let Transition { mut then, mark, open } =
                self.transition(id, &head.group, &summary, at, state, message);
            then.extend(open);
            let when = vec![Compare::mod_revision(keys.head(id), CompareOp::Equal, revision)];
            if let Wrote::Done = self.write(Write { mark, when, then }).await? {
                return Ok(());
            }
        }
        Err(JournalError::Changed(id.to_owned()))
    }

    /// Writes a message without a change of state.
    pub async fn note(&self, id: &str, at: Time, phase: &str, message: &str) -> Result<(), JournalError> {
        let keys = &self.shared.keys;
        let record = Recorded {
            at,
            phase: phase.to_owned(),
            message: value::bounded(message),
            outcome: None,
            glance: None,
            tries: 0,
        };
        let record = value::write(&record);
        let mark = keys.record(id, &name_of(at, &record));
        let when = vec![Compare::create_revision(keys.deployment(id), CompareOp::Greater, 0)];
        let then = vec![TxnOp::put(mark.as_str(), record, None)];
        match self.write(Write { mark, when, then }).await? {
            Wrote::Done => Ok(()),
            Wrote::Conflict => Err(JournalError::Unknown(id.to_owned())),
        }
    }

    fn transition(
        &self,
        id: &str,
        group: &str,
        before: &Summary,
        at: Time,
        state: &State,
        message: &str,
    ) -> Transition {
        let keys = &self.shared.keys;
        let message = value::bounded(message);
        let phase = state.phase.name();
        let outcome = state.phase.outcome();
        let closed = state.phase.is_final();
        let summary = Summary {
            outcome: outcome.or(before.outcome),
            closed,
            started: before.started || matches!(phase, "provisioning" | "probing"),
            stopped: before.stopped || phase == "decommissioning",
            ..before.clone()
        };
        let record = Recorded {
            at,
            phase: phase.to_owned(),
            message: message.clone(),
            outcome: outcome.filter(|outcome: &Outcome| before.outcome != Some(*outcome)),
            glance: state.glance.clone(),
            tries: state.phase.failed_tries(),
        };
        let head = value::write(&Head { group: group.to_owned(), state: json(state), message, at });
        let mark = keys.record(id, &name_of(at, &head));
        let then = vec![
            TxnOp::put(keys.head(id), head, None),
            TxnOp::put(mark.as_str(), value::write(&record), None),
            TxnOp::put(keys.summary(group, id), value::write(&summary), None),
        ];
        let open = (!before.closed && closed).then(|| TxnOp::delete(keys.open(group), None));
        Transition { then, mark, open }
    }

    /// Makes a write in the term of this handle.
    async fn write(&self, Write { mark, mut when, mut then }: Write) -> Result<Wrote, JournalError> {
        let keys = &self.shared.keys;
        let term = self.term().ok_or(JournalError::NotLeading)?;
        when.push(Compare::create_revision(keys.leader(), CompareOp::Equal, term.epoch()));
        when.push(Compare::create_revision(mark.as_str(), CompareOp::Equal, 0));
        then.push(TxnOp::put(keys.last(), mark.as_str(), None));
        let look = Some(GetOptions::new().with_keys_only());
        let txn = Txn::new()
            .when(when)
            .and_then(then)
            .or_else(vec![TxnOp::get(keys.leader(), look.clone()), TxnOp::get(mark.as_str(), look)]);
        let made = self.shared.members.txn(txn).await?;
        if made.succeeded() {
            let revision = made.header().map_or(0, |header| header.revision());
            self.shared.last.send_if_modified(|last| std::mem::replace(last, revision) != revision);
            return Ok(Wrote::Done);
        }
        let created = |at: usize| match made.op_responses().get(at) {
            Some(TxnOpResponse::Get(got)) => got.kvs().first().map(|found| found.create_revision()),
            _ => None,
        };
        if created(0) != Some(term.epoch()) {
            term.end();
            return Err(JournalError::NotLeading);
        }
        Ok(if created(1).is_some() { Wrote::Done } else { Wrote::Conflict })
    }
}

/// A name that the same content at the same time has again, so that a write which is sent again finds its first try.
fn name_of(at: Time, content: &[u8]) -> String {
    format!("{:014}-{:016x}", at.0, xxh3_64(content))
}

/// Serialises plain data, which cannot fail.
fn json(value: &impl serde::Serialize) -> serde_json::Value {
    serde_json::to_value(value).unwrap_or_default()
}
