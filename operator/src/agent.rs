//! The agent beside one nginx of ingress-nginx: a container in each Pod of the controller.
//!
//! ```text
//! API server -> watched -> claims -> tending -> admin API of the module, 127.0.0.1
//!                                       |
//!              status.agents[] <- report+-> server: /healthz /readyz /v1/groups/NAMESPACE/NAME
//! ```
//!
//! It gives `status.route` of each `BlueGreen` to its nginx, never an older one than it has seen, and says what came of it. It
//! decides nothing: while the API server is away it keeps the last route, and renews no lease, so that nginx takes a change on
//! trial back by itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cutover_edges::module::{AdminAddress, Module};
use futures_util::future::join_all;
use kube::Client;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::resource::BlueGreen;

mod backends;
mod claims;
mod decision;
mod report;
mod server;
mod standing;
mod tending;
mod watched;

use backends::Controller;
use claims::Claim;
use report::Reports;
pub(crate) use report::remove;
pub use report::{AgentReport, ReadingNumber};
use tending::Memory;
use watched::Watched;

/// How often nginx is looked at without news from the API server.
const ROUND: Duration = Duration::from_secs(1);

/// The same while a pending change waits for nginx.
const SOON: Duration = Duration::from_millis(200);

/// Where an agent finds what it works with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of its Pod.
    pub pod: String,
    /// The namespace of its Pod.
    pub namespace: String,
    /// The module's admin API.
    pub admin: SocketAddr,
    /// The token of that API, which whoever reads the agent must have, too.
    pub token_file: PathBuf,
    /// Where the controller tells its backends.
    pub controller: SocketAddr,
    /// Where the agent answers.
    pub listen: SocketAddr,
    /// Only the resources of this namespace.
    pub watched: Option<String>,
}

/// An agent.
struct Agent {
    settings: Settings,
    module: Module,
    controller: Controller,
    watched: watch::Receiver<Watched>,
    /// By the unique id of the resource.
    memory: Mutex<BTreeMap<String, Memory>>,
    reports: watch::Sender<Reports>,
    /// The last reading that was shown to somebody.
    readings: tokio::sync::Mutex<ReadingNumber>,
    is_ready: AtomicBool,
}

/// Runs an agent until the task is ended. Fails if it cannot listen.
pub async fn run(client: Client, settings: Settings) -> anyhow::Result<()> {
    let listener = TcpListener::bind(settings.listen)
        .await
        .map_err(|error| anyhow::anyhow!("failed to listen on {}: {error}", settings.listen))?;
    let (known, watched) = watch::channel(Watched::default());
    let (reports, reported) = watch::channel(Reports::default());
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let started = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
    let agent = Arc::new(Agent {
        module: Module::new("cutover", &AdminAddress::Tcp(settings.admin), Some(&settings.token_file)),
        controller: Controller::new(settings.controller),
        watched,
        memory: Mutex::default(),
        reports,
        readings: tokio::sync::Mutex::new(ReadingNumber { started, number: 0 }),
        is_ready: AtomicBool::default(),
        settings: settings.clone(),
    });
    tokio::select! {
        () = watched::follow(client.clone(), &settings, known) => Ok(()),
        () = report::publish(client, &settings.pod, reported) => Ok(()),
        () = Arc::clone(&agent).tend_all() => Ok(()),
        served = server::serve(listener, agent) => served,
    }
}

impl Agent {
    /// Tends all groups for ever: after news from the API server at once, else now and then.
    async fn tend_all(self: Arc<Self>) {
        let mut watched = self.watched.clone();
        loop {
            let now = watched.borrow_and_update().clone();
            let waits = match now.resources {
                Some(resources) => self.tend_round(&resources, &now.labels).await,
                None => false,
            };
            let pause = if waits { SOON } else { ROUND };
            tokio::select! {
                changed = watched.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Tends all groups once. Returns whether a pending change waits for nginx.
    async fn tend_round(
        &self,
        resources: &BTreeMap<String, Arc<BlueGreen>>,
        labels: &BTreeMap<String, String>,
    ) -> bool {
        let claims = claims::of(resources, &self.settings.namespace, labels);
        let groups = self.groups().await;
        let tended = join_all(claims.iter().map(|claim| self.tend(claim, &groups))).await;
        self.forget_others(&claims);
        let is_whole = groups.is_ok() && tended.iter().all(|tended| tended.is_settled);
        if is_whole && !self.is_ready.swap(true, Ordering::AcqRel) {
            tracing::info!("nginx has the routes of all groups: ready");
        }
        let now: Reports = claims
            .iter()
            .zip(&tended)
            .map(|(claim, tended)| (claim.uid.clone(), claim.report(&tended.status)))
            .collect();
        self.reports.send_if_modified(|reports| {
            let is_new = *reports != now;
            *reports = now;
            is_new
        });
        tended.iter().any(|tended| tended.waits)
    }

    /// The names of nginx's groups. The error is one line.
    async fn groups(&self) -> Result<Vec<String>, String> {
        use cutover_engine::edge::Edge as _;
        let groups = self.module.groups().await.map_err(|error| error.to_string())?;
        Ok(groups.into_iter().map(|group| group.name).collect())
    }

    fn forget_others(&self, claims: &[Claim]) {
        self.memory.lock().retain(|uid, _| claims.iter().any(|claim| claim.uid == *uid));
    }
}
