//! The world of a running daemon: nginx, the servers behind it, and the operator's commands.

use std::time::Duration;

use bytes::Bytes;
use cutover_core::api::Group;
use cutover_core::deployment::Revision;
use cutover_core::smoke::Answer;
use cutover_edges::module::Module;
use cutover_engine::commands::{Commands, Failed, Job};
use cutover_engine::edge::{Abilities, Edge, EdgeError, Look, Shift, ShiftError};
use cutover_engine::peers::Peers;
use http::Request;
use http_body_util::Full;

use crate::command::{Runner, end_group};
use crate::journal::SqliteJournal;

/// The configured edge, and commands that the journal records.
#[derive(Clone, Debug)]
pub struct Live {
    edge: Module,
    journal: SqliteJournal,
    runner: Runner,
}

impl Live {
    /// A world that records each command in `journal`.
    pub fn new(edge: Module, journal: SqliteJournal, runner: Runner) -> Self {
        Self { edge, journal, runner }
    }
}

impl Edge for Live {
    fn name(&self) -> &str {
        self.edge.name()
    }

    fn abilities(&self) -> Abilities {
        self.edge.abilities()
    }

    async fn groups(&self) -> Result<Vec<Group>, EdgeError> {
        self.edge.groups().await
    }

    async fn look(&self, group: &str) -> Result<Look, EdgeError> {
        self.edge.look(group).await
    }

    async fn stand_by(&self, group: &str, slot: &str) -> Result<(), EdgeError> {
        self.edge.stand_by(group, slot).await
    }

    async fn shift(&self, group: &str, shift: &Shift, expected: &Revision) -> Result<Look, ShiftError> {
        self.edge.shift(group, shift, expected).await
    }

    async fn renew(&self, group: &str, lease: Duration, expected: &Revision) -> Result<Look, ShiftError> {
        self.edge.renew(group, lease, expected).await
    }

    async fn confirm(&self, group: &str, reason: &str, expected: &Revision) -> Result<Look, ShiftError> {
        self.edge.confirm(group, reason, expected).await
    }
}

impl Peers for Live {
    async fn ask(
        &self,
        peer: &str,
        request: Request<Full<Bytes>>,
        limit: Duration,
    ) -> Result<Answer, String> {
        self.edge.ask(peer, request, limit).await
    }
}

impl Commands for Live {
    async fn run(&self, job: &Job) -> Result<(), Failed> {
        let running = self.runner.start(job)?;
        let leader = running.leader.clone();
        // A restarted daemon could not find a command without a record. Dropping `running` here keeps the command from starting.
        if let Err(error) = self.journal.command_started(&job.deployment, &job.name, &leader).await {
            return Err(Failed::early(format!("{} was not started: journal: {error}", job.name)));
        }
        let done = running.finish().await;
        if let Err(error) = self.journal.commands_ended(vec![leader]).await {
            tracing::warn!(deployment = job.deployment, %error, "failed to record the end of a command");
        }
        done
    }

    async fn end(&self, deployment: &str) -> Result<(), String> {
        let failed = |error: crate::journal::JournalError| error.to_string();
        let leaders = self.journal.commands(deployment).await.map_err(failed)?;
        for leader in &leaders {
            tracing::info!(deployment, pid = leader.pid, "ending an abandoned command");
            end_group(leader).await;
        }
        self.journal.commands_ended(leaders).await.map_err(failed)
    }

    async fn forget(&self, deployment: &str) {
        self.runner.forget(deployment).await;
    }
}
