//! One nginx, a cluster of etcd and two daemons. Each daemon reaches each member of etcd through a proxy of its own, so a test can
//! cut one daemon off.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::daemon::Daemon;
use crate::etcd::Cluster;
use crate::process::{self, Signal};
use crate::proxy::Proxy;
use crate::test_edge::{LOCATION, TestEdge, UPSTREAMS};
use crate::test_host::Users;
use crate::wait;

/// The time to live of the leader's lease.
pub const TTL: Duration = Duration::from_secs(2);

/// How long a deployment may be without a driver: the time to live and five seconds.
pub const WITHOUT_DRIVER: Duration = Duration::from_secs(7);

/// The tables of group `shop`: a soak that outlasts a takeover, and a command that leaves a line.
pub const GROUP: &str = r#"
    [group.shop]
    warm = "1s"
    [group.shop.provision]
    command = ["/bin/sh", "-c", "echo $CUTOVER_SLOT >>%%log%%"]
    [group.shop.probe]
    path = "/"
    interval = "100ms"
    deadline = "5s"
    [group.shop.soak]
    duration = "2s"
    interval = "100ms"
    min_requests = 5
    [group.shop.drain]
    deadline = "1s"
"#;

/// The fixture. All processes end on drop.
#[derive(Debug)]
pub struct TwoDaemons {
    /// The daemons.
    pub daemons: Vec<Daemon>,
    /// The proxies of each daemon, in the order of the members.
    pub proxies: Vec<Vec<Proxy>>,
    /// The members.
    pub cluster: Cluster,
    /// nginx, and the slots in this process.
    pub edge: TestEdge,
}

impl TwoDaemons {
    /// Starts everything. One of the daemons leads.
    pub async fn start(members: usize, groups: &str) -> Result<Self> {
        let edge = TestEdge::start(&TestEdge::http(UPSTREAMS, LOCATION)).await?;
        let cluster = Cluster::start(members).await?;
        let mut pair = Self { daemons: Vec::new(), proxies: Vec::new(), cluster, edge };
        for _ in 0..2 {
            pair.add(groups).await?;
            pair.until_leader().await?;
        }
        Ok(pair)
    }

    async fn add(&mut self, groups: &str) -> Result<()> {
        let mut proxies = Vec::new();
        for member in self.cluster.addresses() {
            proxies.push(Proxy::start(member).await?);
        }
        let prefix = self.edge.nginx.prefix();
        let folder = prefix.join(format!("daemon-{}", self.daemons.len()));
        fs::create_dir_all(&folder)?;
        let endpoints: Vec<String> =
            proxies.iter().map(|proxy| format!("http://{}", proxy.address())).collect();
        let text = format!(
            "[daemon]
            socket = \"{0}/cutover.sock\"
            state = \"{0}/state\"
            store = \"etcd\"
            [daemon.etcd]
            endpoints = {endpoints:?}
            ttl = \"{1}s\"
            [edge.nginx]
            admin = \"unix:{2}/admin.sock\"
            {3}",
            folder.display(),
            TTL.as_secs(),
            prefix.display(),
            groups.replace("%%log%%", &self.log().display().to_string()),
        );
        self.daemons.push(Daemon::start_at(&folder, &text).await?);
        self.proxies.push(proxies);
        Ok(())
    }

    /// The file to which the command of the group writes.
    pub fn log(&self) -> PathBuf {
        self.edge.nginx.prefix().join("commands")
    }

    /// The daemon that says that it leads.
    pub fn leader(&self) -> Option<usize> {
        self.daemons.iter().position(|daemon| {
            let status = daemon.pid().and_then(|_| daemon.status("shop").ok());
            status.is_some_and(|status| status.pointer("/leader/me") == Some(&true.into()))
        })
    }

    /// Waits until a daemon leads.
    pub async fn until_leader(&self) -> Result<usize> {
        wait::until_some(wait::PATIENCE, "a daemon to lead", || self.leader()).await
    }

    /// Sends users to nginx.
    pub fn users(&self) -> Result<Users> {
        Users::start(self.edge.nginx.address("main")?)
    }

    /// Cuts a daemon off from all members, or connects it again.
    pub fn cut_off(&self, daemon: usize, is_cut: bool) -> Result<()> {
        let proxies = self.proxies.get(daemon).context("no such daemon")?;
        proxies.iter().for_each(|proxy| proxy.cut(is_cut));
        Ok(())
    }

    /// Stops a daemon with SIGSTOP, or lets it go on.
    pub fn pause(&self, daemon: usize, is_paused: bool) -> Result<()> {
        let pid = self.daemons.get(daemon).and_then(Daemon::pid).context("no such daemon")?;
        process::signal(pid, if is_paused { Signal::STOP } else { Signal::CONT })
    }
}

impl Drop for TwoDaemons {
    fn drop(&mut self) {
        // The daemons first, because they may move the route.
        self.daemons.clear();
    }
}
