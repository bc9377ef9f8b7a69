//! All that a deployment does to what is outside the daemon, behind one trait: the driver's tests put a scripted world there.

use std::time::Duration;

use bytes::Bytes;
use cutover_core::api::{Group, Groups, RouteChange};
use cutover_core::smoke::Answer;
use http::Request;
use http_body_util::Full;

use crate::command::{self, Commands, Failed, Job};
use crate::edge::{Edge, EdgeError, Module, SwitchError};
use crate::http as client;
use crate::journal::{Journal, JournalError};

/// Whoever can ask peers of an upstream.
pub trait Peers: Send + Sync + 'static {
    /// Asks one peer, at an address as nginx writes it.
    fn ask(
        &self,
        peer: &str,
        request: Request<Full<Bytes>>,
        limit: Duration,
    ) -> impl Future<Output = Result<Answer, String>> + Send;
}

/// The world.
pub trait World: Edge + Peers {
    /// Runs a command to its end, within its limit.
    fn run(&self, job: &Job) -> impl Future<Output = Result<(), Failed>> + Send;

    /// Ends what is left of commands that nobody waits for any more: a daemon that died, or an effect that was given up.
    fn end_commands(&self, deployment: &str) -> impl Future<Output = Result<(), JournalError>> + Send;

    /// Forgets what the commands of a deployment wrote.
    fn forget(&self, _deployment: &str) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// The real one.
#[derive(Clone, Debug)]
pub struct Live {
    edge: Module,
    journal: Journal,
    commands: Commands,
}

impl Live {
    /// The journal is told of each command.
    pub fn new(edge: Module, journal: Journal, commands: Commands) -> Self {
        Self { edge, journal, commands }
    }
}

impl Edge for Live {
    async fn groups(&self) -> Result<Groups, EdgeError> {
        self.edge.groups().await
    }

    async fn group(&self, name: &str) -> Result<Group, EdgeError> {
        self.edge.group(name).await
    }

    async fn stand_by(&self, group: &str, slot: &str) -> Result<(), EdgeError> {
        self.edge.stand_by(group, slot).await
    }

    async fn switch(&self, group: &str, change: &RouteChange, expected: u32) -> Result<Group, SwitchError> {
        self.edge.switch(group, change, expected).await
    }
}

impl Peers for Module {
    async fn ask(
        &self,
        peer: &str,
        request: Request<Full<Bytes>>,
        limit: Duration,
    ) -> Result<Answer, String> {
        let address = client::Address::of_peer(peer).map_err(|error| error.to_string())?;
        client::ask(&address, request, limit).await.map_err(|error| error.to_string())
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

impl World for Live {
    async fn run(&self, job: &Job) -> Result<(), Failed> {
        let running = self.commands.start(job)?;
        let leader = running.leader.clone();
        // A command that a restarted daemon could not find again must not run: dropped here, it never has.
        if let Err(error) = self.journal.command_started(&job.deployment, &job.name, &leader).await {
            return Err(Failed::early(format!("{} was not started: journal: {error}", job.name)));
        }
        let done = running.finish().await;
        if let Err(error) = self.journal.commands_ended(vec![leader]).await {
            tracing::warn!(deployment = job.deployment, %error, "failed to note the end of a command");
        }
        done
    }

    async fn end_commands(&self, deployment: &str) -> Result<(), JournalError> {
        let leaders = self.journal.commands(deployment).await?;
        for leader in &leaders {
            tracing::info!(deployment, pid = leader.pid, "ending a command that nobody waits for");
            command::end_group(leader).await;
        }
        self.journal.commands_ended(leaders).await
    }

    async fn forget(&self, deployment: &str) {
        self.commands.forget(deployment).await;
    }
}
