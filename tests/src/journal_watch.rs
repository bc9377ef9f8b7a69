//! The records of a journal in etcd, as they are written.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cutover_core::deployment::RollbackStep;
use cutover_core::deployment::{Phase, State, Store, TeardownStep};
use etcd_client::{EventType, GetOptions, KeyValue, WatchOptions};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::etcd::Cluster;

/// The prefix of all keys, which is the daemon's default.
const PREFIX: &str = "/cutover/";

/// A record with a state of a deployment.
#[derive(Clone, Debug)]
pub struct Written {
    /// The group.
    pub group: String,
    /// The deployment.
    pub deployment: String,
    /// The state.
    pub state: State,
    /// The number of terms that had begun before it, since the watch began.
    pub term: usize,
    /// When the watch has seen it.
    pub at: Instant,
}

/// Follows the journal. Ends on drop.
#[derive(Debug)]
pub struct JournalWatch {
    seen: watch::Receiver<Seen>,
    task: JoinHandle<()>,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    records: Vec<Written>,
    /// The control socket of the daemon that leads.
    leader: Option<PathBuf>,
    terms: usize,
}

impl Written {
    /// The phase, and the step in it.
    pub fn label(&self) -> String {
        let phase = self.state.phase.name();
        let step = match &self.state.phase {
            Phase::Switching(Store::Reading) => "reading",
            Phase::Switching(Store::Storing) => "storing",
            Phase::RollingBack { step, .. } => match step {
                RollbackStep::SwitchBack => "switch back",
                RollbackStep::Drain { .. } => "drain",
                RollbackStep::Revert => "revert",
                RollbackStep::Teardown => "teardown",
                RollbackStep::Watch { .. } => "watch",
            },
            Phase::TearingDown { step: TeardownStep::Revert, .. } => "revert",
            Phase::TearingDown { step: TeardownStep::Teardown, .. } => "teardown",
            _ => return phase.to_owned(),
        };
        format!("{phase}, {step}")
    }
}

impl JournalWatch {
    /// Follows the journal from now on, through one member.
    pub async fn start(cluster: &Cluster, member: usize) -> Result<Self> {
        let mut client = cluster.client(member).await?;
        let leader = client.get(format!("{PREFIX}leader"), Some(GetOptions::new())).await?;
        let from = leader.header().map_or(0, |header| header.revision()) + 1;
        let first = Seen { records: Vec::new(), leader: leader.kvs().first().and_then(socket_of), terms: 0 };
        let (sender, seen) = watch::channel(first);
        let options = WatchOptions::new().with_prefix().with_start_revision(from);
        let mut stream = client.watch(PREFIX, Some(options)).await?;
        let task = tokio::spawn(async move {
            while let Ok(Some(message)) = stream.message().await {
                for event in message.events() {
                    let is_put = event.event_type() == EventType::Put;
                    if let Some(kv) = event.kv() {
                        sender.send_if_modified(|seen| seen.take(kv, is_put));
                    }
                }
            }
        });
        Ok(Self { seen, task })
    }

    /// The records so far.
    pub fn records(&self) -> Vec<Written> {
        self.seen.borrow().records.clone()
    }

    /// The control socket of the daemon that leads.
    pub fn leader(&self) -> Option<PathBuf> {
        self.seen.borrow().leader.clone()
    }

    /// The number of terms that have begun.
    pub fn terms(&self) -> usize {
        self.seen.borrow().terms
    }

    /// Returns as soon as `find` finds something in the records.
    pub async fn until<T>(
        &mut self,
        limit: Duration,
        what: &str,
        find: impl Fn(&[Written]) -> Option<T>,
    ) -> Result<T> {
        let waiting = async {
            loop {
                if let Some(found) = find(&self.seen.borrow_and_update().records) {
                    return anyhow::Ok(found);
                }
                self.seen.changed().await.context("the watch has ended")?;
            }
        };
        let found = tokio::time::timeout(limit, waiting).await;
        found.with_context(|| format!("waited {limit:?} for {what}"))?
    }
}

impl Drop for JournalWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Seen {
    fn take(&mut self, kv: &KeyValue, is_put: bool) -> bool {
        let key = String::from_utf8_lossy(kv.key()).into_owned();
        match key.strip_prefix(PREFIX).and_then(|key| key.split_once('/').or(Some((key, "")))) {
            Some(("leader", _)) => {
                self.leader = if is_put { socket_of(kv) } else { None };
                self.terms += usize::from(is_put);
            }
            Some(("heads", deployment)) if is_put => {
                let Some((group, state)) = state_of(kv) else { return false };
                let deployment = deployment.to_owned();
                let term = self.terms;
                self.records.push(Written { group, deployment, state, term, at: Instant::now() });
            }
            _ => return false,
        }
        true
    }
}

fn socket_of(kv: &KeyValue) -> Option<PathBuf> {
    let who: Value = serde_json::from_slice(kv.value()).ok()?;
    Some(who.get("socket")?.as_str()?.into())
}

fn state_of(kv: &KeyValue) -> Option<(String, State)> {
    let head: Value = serde_json::from_slice(kv.value()).ok()?;
    let group = head.get("group")?.as_str()?.to_owned();
    Some((group, serde_json::from_value(head.get("state")?.clone()).ok()?))
}
