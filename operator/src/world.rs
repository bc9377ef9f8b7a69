//! The world of one `BlueGreen`: its edge, the Pods behind it, and what starts and stops them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cutover_edges::peers::SocketPeers;
use cutover_edges::prometheus::Prometheus;
use cutover_engine::commands::{Commands, Failed, Job, SmokeResult};
use cutover_engine::databases::{Databases, NotMigrated, NotReverted};
use cutover_engine::fleet::Member;
use cutover_engine::journal::Deployment;
use cutover_engine::peers::{Call, CheckError, Peers, Reply, What};
use cutover_engine::policy::Signal;
use cutover_engine::signals::Signals;
use cutover_engine::world::World;
use parking_lot::Mutex;

use crate::edge::{ClusterEdge, Names, Watched};
use crate::jobs::Jobs;
use crate::ledger::Ledger;
use crate::resource::{DiagnoseSpec, HooksSpec, JobSpecOf, MigrationsSpec};
use crate::setup::Setup;
use crate::workload::{Started, Wanted, Workloads};

/// Most results of smoke tests that are kept.
const MOST_RESULTS: usize = 64;

/// How long a slot stays up that has lost its traffic, if the setup does not say.
const SETTLE: Duration = Duration::from_secs(10);

/// The world of one `BlueGreen`.
pub struct ClusterWorld {
    edges: [Member<ClusterEdge>; 1],
    names: Names,
    workloads: Workloads,
    jobs: Jobs,
    migrations: Option<MigrationsSpec>,
    hooks: Option<HooksSpec>,
    settle: Duration,
    ledger: Arc<Ledger>,
    peers: SocketPeers,
    results: Mutex<Vec<SmokeResult>>,
    /// Whether the driver has begun its work.
    has_begun: AtomicBool,
}

impl ClusterWorld {
    /// The world of a deployment with this setup.
    pub fn new(watched: &Arc<Watched>, setup: &Setup, ledger: &Arc<Ledger>) -> Self {
        let names = setup.names();
        let edge = ClusterEdge::new(watched, names.clone(), &setup.edge, ledger);
        let jobs = Jobs::new(watched.client().clone(), &setup.namespace);
        Self {
            edges: [Member::new(edge)],
            names,
            workloads: Workloads::new(Arc::clone(watched), setup.clone(), Arc::clone(ledger)),
            jobs,
            migrations: setup.migrations.clone(),
            hooks: setup.hooks.clone(),
            // The policy was refused if it is no time.
            settle: humantime::parse_duration(&setup.settle).unwrap_or(SETTLE),
            ledger: Arc::clone(ledger),
            peers: SocketPeers::default(),
            results: Mutex::default(),
            has_begun: AtomicBool::default(),
        }
    }

    async fn run_job(&self, job: &Job, what: Option<&JobSpecOf>, slot: &str) -> Result<String, Failed> {
        let Some(what) = what else {
            return Err(Failed::early(format!("the spec has no Job \"{}\"", job.name)));
        };
        let deployment = self.workloads.with_template(slot).await.map_err(Failed::early)?;
        self.jobs.run(job, what, &deployment).await
    }

    /// Starts a version, and notes what its Pods are made of. Returns one line.
    async fn start(&self, slot: &str, version: &str, limit: Duration) -> Result<String, String> {
        let given = || self.edge().until_given(slot);
        if self.workloads.has_another(slot).await? {
            // It may have had the traffic a moment ago.
            self.settle().await?;
            self.workloads.clear(slot, limit).await?;
            given().await.map_err(|error| error.to_string())?;
        }
        let Started { what, rollout } = self.workloads.start(slot, version, limit).await?;
        given().await.map_err(|error| error.to_string())?;
        let noted = self.ledger.write(|status| {
            if let Some(deployment) = &mut status.deployment {
                deployment.rollout = rollout;
            }
        });
        if let Err(error) = noted.await {
            // Then nobody sees that somebody else changes them, which is no reason to give the version up.
            tracing::warn!(slot, %error, "failed to note what the Pods of the new version are made of");
        }
        Ok(what)
    }

    /// Looks at a version that has failed. Returns the end of what it says.
    async fn diagnose(&self, job: &Job, slot: &str) -> Result<String, Failed> {
        let diagnose = self.hooks.as_ref().and_then(|hooks| hooks.diagnose.as_ref());
        self.run_job(job, diagnose.map(DiagnoseSpec::job).as_ref(), slot).await?;
        Ok(self.jobs.output(job).await)
    }

    /// Scales a slot down, once nobody gives it requests any more. Returns one line.
    pub async fn stop(&self, slot: &str, wanted: Wanted) -> Result<String, String> {
        self.settle().await?;
        self.workloads.stop(slot, wanted).await
    }

    /// Waits until proxies have had the time to learn of the last change of the route.
    pub async fn settle(&self) -> Result<(), String> {
        self.edge().settle(self.settle).await.map_err(|error| error.to_string())
    }

    /// The edge.
    pub fn edge(&self) -> &ClusterEdge {
        let [member] = &self.edges;
        member.edge()
    }

    /// The names that it is about.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The Deployments of the slots.
    pub fn workloads(&self) -> &Workloads {
        &self.workloads
    }
}

impl World for ClusterWorld {
    type Edge = ClusterEdge;

    fn edges(&self) -> &[Member<ClusterEdge>] {
        &self.edges
    }
}

impl Peers for ClusterWorld {
    async fn check(&self, peer: &str, call: Call, limit: Duration) -> Result<Reply, CheckError> {
        match call.what {
            What::Command { .. } => Err(CheckError::Invalid(
                "the operator runs no programs: use a check of kind http, tcp or grpc".to_owned(),
            )),
            _ => self.peers.check(peer, call, limit).await,
        }
    }
}

impl Signals for ClusterWorld {
    async fn value(&self, signal: &Signal, query: &str, ago: Duration) -> Result<Option<f64>, String> {
        Prometheus.value(signal, query, ago).await
    }
}

/// Migrations are Jobs, see [`Commands`].
impl Databases for ClusterWorld {
    async fn migrate(&self, _: &Deployment) -> Result<Vec<String>, NotMigrated> {
        Err(NotMigrated::Nothing("the operator migrates by Jobs".to_owned()))
    }

    async fn revert(&self, _: &Deployment) -> Result<Vec<String>, NotReverted> {
        Err(NotReverted::Failed("the operator reverts by Jobs".to_owned()))
    }
}

/// What the engine calls commands are changes of Deployments, and Jobs.
impl Commands for ClusterWorld {
    async fn output(&self, job: &Job) -> Result<String, Failed> {
        let of = |name: &str| job.environment.get(name).map(String::as_str).unwrap_or_default();
        let (slot, version) = (of("CUTOVER_SLOT"), of("CUTOVER_VERSION"));
        let migrations = self.migrations.as_ref();
        // Each is boxed: what runs commands is part of many futures of the driver, which would not fit on a stack.
        let done = match job.name.as_str() {
            "migrate" => return Box::pin(self.run_job(job, migrations.map(|all| &all.migrate), slot)).await,
            "revert" => {
                self.settle().await.map_err(Failed::early)?;
                let revert = migrations.and_then(|all| all.revert.as_ref());
                return Box::pin(self.run_job(job, revert, slot)).await;
            }
            "diagnose" => return Box::pin(self.diagnose(job, slot)).await,
            "provision" => Box::pin(self.start(slot, version, job.command.timeout.get())).await,
            "decommission" | "teardown" => Box::pin(self.stop(slot, Wanted::None)).await,
            other => Err(format!("the operator has no command \"{other}\"")),
        };
        done.map_err(Failed::early)
    }

    /// A driver that begins lets the Jobs of the one before go on, and waits for them when it comes to their step.
    async fn end(&self, deployment: &str) -> Result<(), String> {
        if !self.has_begun.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        self.jobs.end(deployment).await
    }

    async fn keep(&self, _: &str, result: &SmokeResult) {
        let mut results = self.results.lock();
        if results.len() < MOST_RESULTS {
            results.push(result.clone());
        }
    }

    async fn kept(&self, _: &str) -> Vec<SmokeResult> {
        self.results.lock().clone()
    }
}
