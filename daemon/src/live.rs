//! The world of a running daemon: its edges, the servers behind it, and the operator's commands.

use std::time::Duration;

use bytes::Bytes;
use cutover_core::smoke::Answer;
use cutover_edges::host::HostEdge;
use cutover_edges::http::HttpPeers;
use cutover_edges::prometheus::Prometheus;
use cutover_engine::commands::{Commands, Failed, Job};
use cutover_engine::fleet::Member;
use cutover_engine::peers::Peers;
use cutover_engine::policy::Signal;
use cutover_engine::signals::Signals;
use cutover_engine::world::World;
use http::Request;
use http_body_util::Full;

use crate::command::{Runner, end_group};
use crate::journal::Store;

/// The configured edges, and commands that the journal records.
#[derive(Debug)]
pub struct Live {
    edges: Vec<Member<HostEdge>>,
    journal: Store,
    runner: Runner,
}

impl Live {
    /// A world that records each command in `journal`.
    pub fn new(edges: impl Iterator<Item = HostEdge>, journal: Store, runner: Runner) -> Self {
        Self { edges: edges.map(Member::new).collect(), journal, runner }
    }
}

impl World for Live {
    type Edge = HostEdge;

    fn edges(&self) -> &[Member<HostEdge>] {
        &self.edges
    }
}

impl Peers for Live {
    async fn ask(
        &self,
        peer: &str,
        request: Request<Full<Bytes>>,
        limit: Duration,
    ) -> Result<Answer, String> {
        HttpPeers.ask(peer, request, limit).await
    }
}

impl Signals for Live {
    async fn value(&self, signal: &Signal, query: &str, ago: Duration) -> Result<Option<f64>, String> {
        Prometheus.value(signal, query, ago).await
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
        if let Err(error) = self.journal.commands_ended(&job.deployment, vec![leader]).await {
            tracing::warn!(deployment = job.deployment, %error, "failed to record the end of a command");
        }
        done
    }

    async fn end(&self, deployment: &str) -> Result<(), String> {
        let failed = |error: crate::journal::JournalError| error.to_string();
        let leaders = self.journal.commands(deployment).await.map_err(failed)?;
        let leaders: Vec<_> = leaders.into_iter().map(|left| left.leader).collect();
        for leader in &leaders {
            tracing::info!(deployment, pid = leader.pid, "ending an abandoned command");
            end_group(leader).await;
        }
        self.journal.commands_ended(deployment, leaders).await.map_err(failed)
    }

    async fn forget(&self, deployment: &str) {
        self.runner.forget(deployment).await;
    }
}
