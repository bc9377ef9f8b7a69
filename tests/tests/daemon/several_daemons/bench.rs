//! Edges, etcd, two daemons and users, for deployments during which something fails.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cutover_core::api::Group;
use cutover_tests::daemon_hosts::Way;
use cutover_tests::test_host::Users;
use cutover_tests::{Action, Backend, DaemonHosts, Hosts, Network};

/// The tables of a group. All phases leave a record, and the lease outlasts a takeover.
pub(crate) const GROUP: &str = r#"
    [group.shop]
    warm = "500ms"
    [group.shop.fleet]
    patience = "1500ms"
    [group.shop.migrate]
    command = ["/bin/sh", "-c", "echo migrate $CUTOVER_SLOT >>%%log%%"]
    [group.shop.revert]
    command = ["/bin/sh", "-c", "echo revert $CUTOVER_SLOT >>%%log%%"]
    [group.shop.provision]
    command = ["/bin/sh", "-c", "echo provision $CUTOVER_SLOT >>%%log%%"]
    [group.shop.decommission]
    command = ["/bin/sh", "-c", "echo decommission $CUTOVER_SLOT >>%%log%%"]
    [group.shop.probe]
    path = "/up"
    interval = "100ms"
    deadline = "10s"
    [[group.shop.smoke]]
    name = "answers"
    path = "/smoke"
    [group.shop.soak]
    duration = "1s"
    interval = "100ms"
    min_requests = 5
    # A machine that runs tests is slow at times.
    [group.shop.soak.signals]
    p50 = { max = "5s" }
    p95 = { max = "5s" }
    p99 = { max = "5s" }
    whole_p95 = { max = "5s" }
    [group.shop.trial]
    lease = "%%lease%%"
    # The daemon has to find out that a version is bad, and to take it back.
    guard = false
    [group.shop.drain]
    deadline = "1s"
"#;

/// The lease of the trial.
pub(crate) const LEASE: Duration = Duration::from_secs(10);

/// Pause of users between two requests, and how many times as long it is for those of the pages that a bad version breaks.
const PAUSE: Duration = Duration::from_millis(10);
const FEW: u32 = 2;
/// These pages.
const SOME: &str = "some";

/// What is wrong with the version that is deployed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Good,
    /// A third of its answers to users is bad.
    Bad,
    /// Its smoke test fails.
    FailsBefore,
}

/// Edges, etcd, two daemons, and users.
pub(crate) struct Bench<'a> {
    pub(crate) hosts: &'a Hosts,
    pub(crate) pair: DaemonHosts,
    /// The slots of each group.
    pub(crate) backends: BTreeMap<&'static str, [&'a Backend; 2]>,
    /// Users of each group on each edge.
    pub(crate) users: Vec<(&'static str, Users)>,
    pub(crate) known: BTreeSet<String>,
    pub(crate) version: u32,
}

impl Version {
    pub(crate) const ALL: [Self; 3] = [Self::Good, Self::Bad, Self::FailsBefore];

    pub(crate) fn outcome(self) -> &'static str {
        match self {
            Self::Good => "completed",
            Self::Bad => "rolled_back",
            Self::FailsBefore => "failed",
        }
    }
}

impl<'a> Bench<'a> {
    /// Starts it for these groups and the servers of their slots. `is_tls`: the daemons reach the edges over the network, and not
    /// by their unix sockets.
    pub(crate) async fn start(
        network: &Network,
        hosts: &'a Hosts,
        is_tls: bool,
        backends: BTreeMap<&'static str, [&'a Backend; 2]>,
    ) -> Result<Self> {
        let names = ["nginx", "two", "three"];
        let way = |host: &cutover_tests::hosts::Host| match is_tls {
            true => Way::Keys(hosts.keys(host)),
            false => Way::Socket(host.nginx.admin_socket()),
        };
        let edges: Vec<(&str, Way)> = names.into_iter().zip(hosts.all().iter().map(way)).collect();
        let folder = hosts.folder();
        let groups = backends.keys().map(|group| {
            let table = GROUP.replace("group.shop", &format!("group.{group}"));
            let log = folder.join(format!("{group}.log"));
            table
                .replace("%%log%%", &log.display().to_string())
                .replace("%%lease%%", &format!("{}s", LEASE.as_secs()))
        });
        let groups: String = groups.collect();
        let pair = DaemonHosts::start(network, &hosts.authority, &folder, &edges, &groups).await?;
        let mut bench = Self { hosts, pair, backends, users: Vec::new(), known: BTreeSet::new(), version: 1 };
        for group in bench.backends.keys() {
            // With several groups, each has a location of its own.
            let path = if bench.backends.len() == 1 { "/".to_owned() } else { format!("/{group}/") };
            for host in hosts.all() {
                for (path, pause) in [(path.clone(), PAUSE), (format!("{path}{SOME}"), PAUSE * FEW)] {
                    let users = Users::start_at(host.main(), &path, pause)?;
                    users.more_good(2).await?;
                    bench.users.push((group, users));
                }
            }
        }
        Ok(bench)
    }

    /// The group on each edge.
    pub(crate) async fn groups(&self, group: &str) -> Result<Vec<Group>> {
        let mut all = Vec::new();
        for host in self.hosts.all() {
            all.push(host.nginx.admin().group(group).await?);
        }
        Ok(all)
    }

    /// The slot that has the traffic on all edges, and no trial or split goes on.
    pub(crate) async fn settled(&self, group: &str) -> Result<String> {
        let all = self.groups(group).await?;
        let first = all.first().context("no edge")?.route.active.clone();
        for seen in &all {
            let route = &seen.route;
            let is_settled = route.active == first && route.trial.is_none() && route.split.is_none();
            ensure!(
                is_settled,
                "group \"{group}\": {:?}",
                all.iter().map(|seen| &seen.route).collect::<Vec<_>>()
            );
        }
        Ok(first)
    }

    pub(crate) fn behave(&self, version: Version, group: &str, slot: &str) {
        let [blue, green] = self.backends[group];
        let backend = if slot == "blue" { blue } else { green };
        let status = |is_bad| Action::status(if is_bad { 500 } else { 200 });
        for path in [format!("/{SOME}"), format!("/{group}/{SOME}")] {
            backend.on(&path, status(version == Version::Bad));
        }
        backend.on("/up", status(false));
        backend.on("/smoke", status(version == Version::FailsBefore));
    }

    pub(crate) fn log(&self, group: &str) -> PathBuf {
        self.hosts.folder().join(format!("{group}.log"))
    }
}
