//! All that a deployment does to what is outside the daemon, behind one trait: the driver's tests put a scripted world there.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use cutover_core::api::{Group, Groups};
use cutover_core::smoke::Answer;
use http::Request;
use http_body_util::Full;

use crate::command::{self, Failed, Job};
use crate::edge::{Edge, EdgeError, Module, SwitchError};
use crate::http as client;
use crate::journal::{Journal, JournalError};

/// The world.
pub trait World: Edge {
    /// Asks one peer, at an address as nginx writes it.
    fn ask(
        &self,
        peer: &str,
        request: Request<Full<Bytes>>,
        limit: Duration,
    ) -> impl Future<Output = Result<Answer, String>> + Send;

    /// Runs a command to its end, within its limit.
    fn run(&self, job: &Job) -> impl Future<Output = Result<(), Failed>> + Send;

    /// Ends what is left of commands that nobody waits for any more: a daemon that died, or an effect that was given up.
    fn end_commands(&self, deployment: &str) -> impl Future<Output = Result<(), JournalError>> + Send;
}

/// The real one.
#[derive(Clone, Debug)]
pub struct Live {
    edge: Module,
    journal: Journal,
    folder: PathBuf,
}

impl Live {
    /// Commands write their output below `folder`.
    pub fn new(edge: Module, journal: Journal, folder: PathBuf) -> Self {
        Self { edge, journal, folder }
    }
}

impl Edge for Live {
    async fn groups(&self) -> Result<Groups, EdgeError> {
        self.edge.groups().await
    }

    async fn group(&self, name: &str) -> Result<Group, EdgeError> {
        self.edge.group(name).await
    }

    async fn switch(&self, group: &str, to: &str, expected: u32, reason: &str) -> Result<Group, SwitchError> {
        self.edge.switch(group, to, expected, reason).await
    }
}

impl World for Live {
    async fn ask(
        &self,
        peer: &str,
        request: Request<Full<Bytes>>,
        limit: Duration,
    ) -> Result<Answer, String> {
        let address = client::Address::of_peer(peer).map_err(|error| error.to_string())?;
        client::ask(&address, request, limit).await.map_err(|error| error.to_string())
    }

    async fn run(&self, job: &Job) -> Result<(), Failed> {
        let running = command::start(job, &self.folder)?;
        let leader = running.leader.clone();
        // A command that a restarted daemon could not find again must not run.
        if let Err(error) = self.journal.command_started(&job.deployment, &job.name, &leader).await {
            command::end_group(&leader).await;
            return Err(Failed::early(format!("{} was ended: journal: {error}", job.name)));
        }
        let done = running.finish().await;
        if let Err(error) = self.journal.commands_ended(&job.deployment).await {
            tracing::warn!(deployment = job.deployment, %error, "failed to note the end of a command");
        }
        done
    }

    async fn end_commands(&self, deployment: &str) -> Result<(), JournalError> {
        for leader in self.journal.commands(deployment).await? {
            tracing::info!(deployment, pid = leader.pid, "ending a command that nobody waits for");
            command::end_group(&leader).await;
        }
        self.journal.commands_ended(deployment).await
    }
}
