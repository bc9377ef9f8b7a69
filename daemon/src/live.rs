//! The world of a running daemon: its edges, the servers behind it, and the operator's commands.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cutover_edges::host::HostEdge;
use cutover_edges::prometheus::Prometheus;
use cutover_engine::commands::{Commands, Failed, Job, SmokeResult};
use cutover_engine::figures::Point;
use cutover_engine::fleet::Member;
use cutover_engine::peers::{Call, CheckError, Peers, Reply};
use cutover_engine::policy::Signal;
use cutover_engine::signals::Signals;
use cutover_engine::world::World;
use parking_lot::Mutex;

use crate::command::{Checker, Leader, Runner, end_group};
use crate::figures::FiguresFiles;
use crate::journal::{JournalError, LeftCommand, Store};
use crate::led::Led;
use crate::peers::HostPeers;

/// How long a daemon that has lost its lead needs to end its commands: SIGTERM, then SIGKILL after five seconds.
const GRACE: Duration = Duration::from_secs(6);

/// Pause between two tries to reach the store.
const PAUSE: Duration = Duration::from_millis(200);

/// The configured edges, and commands that the journal records.
#[derive(Debug)]
pub struct Live {
    edges: Vec<Member<Led<HostEdge>>>,
    journal: Store,
    runner: Runner,
    peers: HostPeers,
    figures: FiguresFiles,
    /// The commands that run now, by deployment. They can be ended while the journal cannot be read.
    running: Arc<Mutex<BTreeMap<String, Vec<Leader>>>>,
}

impl Live {
    /// A world that records each command in `journal`.
    pub fn new(edges: impl Iterator<Item = HostEdge>, journal: Store, runner: Runner) -> Self {
        let edges = edges.map(|edge| Member::new(Led::new(edge, journal.clone()))).collect();
        let peers = HostPeers::new(Checker::default());
        Self { edges, journal, runner, peers, figures: FiguresFiles::start(), running: Arc::default() }
    }

    /// Repeats a call to the journal while the store is away and this daemon leads, as the driver does with its records. A member
    /// of etcd that dies takes the store away for some seconds. No deployment should fail for that reason.
    async fn patiently<T, F: Future<Output = Result<T, JournalError>>>(
        &self,
        call: impl Fn() -> F,
    ) -> Result<T, JournalError> {
        retried(call, || self.journal.leads()).await
    }

    /// Whether this daemon may change anything.
    pub(crate) fn leads(&self) -> bool {
        self.journal.leads()
    }

    fn ended(&self, deployment: &str, leader: &Leader) {
        let mut running = self.running.lock();
        if let Some(leaders) = running.get_mut(deployment) {
            leaders.retain(|running| running != leader);
            if leaders.is_empty() {
                running.remove(deployment);
            }
        }
    }

    /// Says that a command on another host may still run. It cannot be ended from here.
    async fn tell_of(&self, deployment: &str, left: &LeftCommand) -> Result<(), JournalError> {
        let (host, pid) = (left.elsewhere.as_deref().unwrap_or_default(), left.leader.pid);
        let message = format!(
            "{} may still run on host \"{host}\", process {pid}, if the daemon there was killed; it cannot be ended from here; \
             to end it, on that host: kill -- -{pid}",
            left.name
        );
        tracing::warn!(deployment, host, pid, "{message}");
        if let Some(entry) = self.journal.entry(deployment).await? {
            let now = cutover_engine::clock::Clock::start().now();
            self.journal.note(deployment, now, entry.state.phase.name(), &message).await?;
        }
        self.journal.command_elsewhere_over(deployment, left).await
    }
}

/// Repeats a call to the journal while the store is away and `goes_on` says so.
async fn retried<T, F: Future<Output = Result<T, JournalError>>>(
    call: impl Fn() -> F,
    goes_on: impl Fn() -> bool,
) -> Result<T, JournalError> {
    loop {
        match call().await {
            Err(error) if error.is_away() && goes_on() => {
                tracing::warn!(%error, "failed to read or write a record of a command; trying again");
                tokio::time::sleep(PAUSE).await;
            }
            done => return done,
        }
    }
}

impl World for Live {
    type Edge = Led<HostEdge>;

    fn edges(&self) -> &[Member<Led<HostEdge>>] {
        &self.edges
    }
}

impl Peers for Live {
    async fn check(&self, peer: &str, call: Call, limit: Duration) -> Result<Reply, CheckError> {
        self.peers.check(peer, call, limit).await
    }
}

impl Signals for Live {
    async fn value(&self, signal: &Signal, query: &str, ago: Duration) -> Result<Option<f64>, String> {
        Prometheus.value(signal, query, ago).await
    }
}

impl Commands for Live {
    async fn output(&self, job: &Job) -> Result<String, Failed> {
        let running = self.runner.start(job)?;
        let leader = running.leader.clone();
        // A restarted daemon could not find a command without a record. Dropping `running` here keeps the command from starting.
        let started = || self.journal.command_started(&job.deployment, &job.name, &leader);
        // A daemon that may have lost its lead does not say that the command has failed: it drops its drivers, and so this call.
        let started = retried(started, || true).await;
        if let Err(error) = started {
            return Err(Failed::early(format!("{} was not started: journal: {error}", job.name)));
        }
        self.running.lock().entry(job.deployment.clone()).or_default().push(leader.clone());
        let done = running.finish().await;
        self.ended(&job.deployment, &leader);
        let ended = || self.journal.commands_ended(&job.deployment, vec![leader.clone()]);
        if let Err(error) = self.patiently(ended).await {
            tracing::warn!(deployment = job.deployment, %error, "failed to record the end of a command");
        }
        done
    }

    async fn end(&self, deployment: &str) -> Result<(), String> {
        let failed = |error: JournalError| error.to_string();
        let known = self.running.lock().remove(deployment).unwrap_or_default();
        for leader in &known {
            tracing::info!(deployment, pid = leader.pid, "ending a command that nobody waits for");
            end_group(leader).await;
        }
        // The commands in the journal are those of the daemon that leads.
        if !self.journal.leads() {
            return Ok(());
        }
        let left = self.patiently(|| self.journal.commands(deployment)).await.map_err(failed)?;
        let (elsewhere, here): (Vec<_>, Vec<_>) = left.into_iter().partition(|left| left.elsewhere.is_some());
        let leaders: Vec<_> = here.into_iter().map(|left| left.leader).collect();
        for leader in &leaders {
            tracing::info!(deployment, pid = leader.pid, "ending an abandoned command");
            end_group(leader).await;
        }
        let ended = || self.journal.commands_ended(deployment, leaders.clone());
        self.patiently(ended).await.map_err(failed)?;
        if elsewhere.is_empty() {
            return Ok(());
        }
        // A daemon that lives has ended its commands by then, so that two do not run at once.
        tokio::time::sleep(GRACE).await;
        for left in &elsewhere {
            self.patiently(|| self.tell_of(deployment, left)).await.map_err(failed)?;
        }
        Ok(())
    }

    async fn keep(&self, deployment: &str, result: &SmokeResult) {
        if let Err(error) = self.runner.keep(deployment, result).await {
            tracing::warn!(deployment, %error, "the result of a smoke test is not kept");
        }
    }

    async fn kept(&self, deployment: &str) -> Vec<SmokeResult> {
        self.runner.kept(deployment).await
    }

    fn keep_figures(&self, deployment: &str, point: Point) {
        self.figures.keep(self.runner.folder(deployment), point);
    }

    fn folder(&self, deployment: &str) -> Option<PathBuf> {
        Some(self.runner.folder(deployment))
    }

    async fn forget(&self, deployment: &str) {
        self.runner.forget(deployment).await;
    }
}
