//! Leads for as long as the store says so: resumes the unfinished deployments at the beginning of a term, and drops all drivers at
//! its end.
//!
//! ```text
//! campaign -> fence what a switch by hand may have sent -> resume: each driver fences first; renew the lease
//!     ^                                                                                            |
//!     +----------------- drop the drivers, end their commands <----- the lease may have run out <--+
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cutover_engine::world::World;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::running::Current;
use super::{Control, Refusal};
use crate::journal::{EtcdJournal, JournalError, Leads, Store, Term};

/// Pause between two tries to begin a term.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a group whose edge does not answer is tried to be fenced before the term begins.
const FENCE_PATIENCE: Duration = Duration::from_secs(2);

/// Which daemon leads, as the control API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderStatus {
    /// Whether the daemon that answers leads.
    pub me: bool,
    /// The daemon that leads, as it was seen last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daemon: Option<String>,
    /// Its host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Its control socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<String>,
    /// Its epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
}

impl<W: World> Control<W> {
    /// Leads whenever no other daemon does. Never ends.
    pub async fn lead(&self, election: &EtcdJournal) {
        // A daemon that does not lead shows the health of the active slots too.
        self.keep_vigils();
        loop {
            let term = election.campaign().await;
            let epoch = term.epoch();
            tracing::info!(epoch, "leading");
            tokio::join!(election.keep(&term), self.serve_term(&term));
            self.is_resumed.store(false, Ordering::Release);
            tracing::warn!(epoch, "no longer leading: the lease may have run out, so all drivers stop");
            election.end_term();
            self.step_down().await;
        }
    }

    /// Resumes the deployments and waits for the end of the term.
    async fn serve_term(&self, term: &Term) {
        let beginning = async {
            while let Err(error) = self.begin_term().await {
                tracing::error!(%error, "failed to resume the deployments; trying again");
                tokio::time::sleep(PAUSE).await;
            }
            std::future::pending().await
        };
        tokio::select! {
            () = beginning => {}
            () = term.over() => {}
        }
    }

    async fn begin_term(&self) -> Result<(), JournalError> {
        self.fence_moving().await?;
        self.resume_all(true).await
    }

    /// Fences the groups in which a switch by hand of the last leader may be in transit.
    async fn fence_moving(&self) -> Result<(), JournalError> {
        for group in self.journal.all_moving().await? {
            // Nothing else moves the group meanwhile.
            let current = self.current(&group);
            let _current = current.lock().await;
            let fenced = self.fence_all(&group).await;
            match fenced {
                Ok(()) => self.journal.moved(&group).await?,
                // The record stays, so a later leader tries again.
                Err(why) => {
                    tracing::error!(group, why, "a switch by hand of another daemon may still take effect")
                }
            }
        }
        Ok(())
    }

    /// Fences a group on all of its edges.
    async fn fence_all(&self, group: &str) -> Result<(), String> {
        let fleet = self.fleet(group);
        let begin = Instant::now();
        loop {
            let fenced = async {
                let view = fleet.look(group).await.map_err(|error| error.to_string())?;
                let seen = view.edges.iter().map(|(edge, look)| (edge.clone(), look)).collect();
                let reason = "takeover, after a switch by hand that may not have ended";
                let fenced = fleet.fence(&seen, reason, None, FENCE_PATIENCE).await;
                let missing = fleet.names().find(|edge| !matches!(fenced.get(*edge), Some(Ok(_))));
                missing.map_or(Ok(()), |edge| Err(format!("edge \"{edge}\" does not confirm a fence")))
            };
            match fenced.await {
                Err(_) if begin.elapsed() < FENCE_PATIENCE => tokio::time::sleep(PAUSE).await,
                fenced => return fenced,
            }
        }
    }

    /// Drops all drivers and ends their commands. Nothing is written.
    async fn step_down(&self) {
        let running: Vec<Arc<Current>> = self.running.lock().values().map(Arc::clone).collect();
        for current in running {
            if let Some(running) = current.lock().await.take() {
                running.task.abort();
                let _ = running.task.await;
                self.end_commands(&running.id).await;
            }
        }
        self.end_hooks().await;
        self.end_reruns(Instant::now()).await;
    }

    /// Fails if this daemon does not lead.
    pub(super) fn leading(&self) -> Result<(), Refusal> {
        if self.journal.leads() {
            let is_resumed = self.is_resumed.load(Ordering::Acquire);
            return if is_resumed { Ok(()) } else { Err(Refusal::Resuming) };
        }
        let leads = match &self.journal {
            Store::Etcd(journal) => journal.leads().filter(|leads| leads.who != *journal.me()),
            Store::Sqlite(_) => None,
        };
        Err(Refusal::NotLeading(leads.map(Box::new)))
    }

    /// Which daemon leads. `None` if the store is for one daemon.
    pub(super) fn leader(&self) -> Option<LeaderStatus> {
        let Store::Etcd(journal) = &self.journal else { return None };
        let me = self.journal.leads();
        // A daemon that may have lost its lead does not know who has it.
        let leads = journal.leads().filter(|leads| me || leads.who != *journal.me());
        let who = leads.as_ref().map(|Leads { who, .. }| who);
        Some(LeaderStatus {
            me,
            daemon: who.map(|who| who.daemon.clone()),
            host: who.map(|who| who.host.clone()),
            socket: who.map(|who| who.socket.clone()),
            epoch: leads.as_ref().map(|leads| leads.epoch),
        })
    }
}
