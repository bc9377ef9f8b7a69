//! Two daemons with a store in etcd, in a [`Network`]: each daemon and each member of etcd is on a host of its own.
//!
//! | fault of a daemon | is |
//! |---|---|
//! | killed | `daemon.kill()`, then `resume()` |
//! | paused | [`DaemonHost::pause`] |
//! | cut off from everything | `host.cut_off()`, then `reconnect()` |
//! | cut off from etcd only | [`DaemonHosts::lose_store`] |
//! | its changes are late | [`DaemonHost::hold`] |
//!
//! An edge that is reached by its unix socket is reached through an [`AdminProxy`] of each daemon, also while the daemon's host is
//! cut off.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;

use crate::admin_proxy::AdminProxy;
use crate::certificate::{Authority, Validity};
use crate::daemon::Daemon;
use crate::etcd::{Cluster, Tls};
use crate::journal_watch::JournalWatch;
use crate::network::{Host, Network};
use crate::process::{self, Signal};
use crate::two_daemons::TTL;
use crate::wait;

/// The number of the first host with a member, and of the first one with a daemon.
const MEMBERS_FROM: u8 = 11;
const DAEMONS_FROM: u8 = 21;

/// How the daemons reach an edge.
#[derive(Clone, Debug)]
pub enum Way {
    /// By this unix socket, through a proxy.
    Socket(PathBuf),
    /// By these keys of `[edge.NAME]`.
    Keys(String),
}

/// The fixture. All processes end on drop.
#[derive(Debug)]
pub struct DaemonHosts {
    /// The daemons.
    pub daemons: Vec<DaemonHost>,
    /// The members.
    pub cluster: Cluster,
}

/// A daemon on a host of its own.
#[derive(Debug)]
pub struct DaemonHost {
    /// The daemon.
    pub daemon: Daemon,
    /// Its host.
    pub host: Host,
    /// The proxies to the edges with a unix socket.
    pub proxies: Vec<AdminProxy>,
}

impl DaemonHosts {
    /// Starts everything. One of the daemons leads.
    pub async fn start(
        network: &Network,
        authority: &Authority,
        folder: &Path,
        edges: &[(&str, Way)],
        groups: &str,
    ) -> Result<Self> {
        let hosts = (0..3).map(|number| network.host(MEMBERS_FROM + number)).collect::<Result<Vec<_>>>()?;
        let names: Vec<String> = hosts.iter().map(|host| format!("IP:{}", host.address())).collect();
        let issue = |name: &str, names: &str| {
            let made = authority.issue(name, names, Validity::Days(20))?;
            anyhow::Ok((made.certificate, made.key))
        };
        let server = issue("etcd", &names.join(","))?;
        let tls = Tls { ca: authority.own.certificate.clone(), server, client: issue("daemon", "")? };
        let cluster = Cluster::start_on(hosts, tls).await?;
        let mut pair = Self { daemons: Vec::new(), cluster };
        for number in 0..2 {
            let host = network.host(DAEMONS_FROM + number)?;
            let folder = folder.join(format!("daemon-{number}"));
            fs::create_dir_all(&folder)?;
            let daemon = pair.add(host, &folder, edges, groups).await?;
            pair.daemons.push(daemon);
            pair.until_leader().await?;
        }
        Ok(pair)
    }

    async fn add(
        &self,
        host: Host,
        folder: &Path,
        edges: &[(&str, Way)],
        groups: &str,
    ) -> Result<DaemonHost> {
        let (mut proxies, mut tables) = (Vec::new(), String::new());
        for (name, way) in edges {
            let keys = match way {
                Way::Keys(keys) => keys.clone(),
                Way::Socket(server) => {
                    let proxy = AdminProxy::start(folder.join(format!("{name}.sock")), server.clone())?;
                    let keys = format!("admin = \"unix:{}\"\n", proxy.socket().display());
                    proxies.push(proxy);
                    keys
                }
            };
            tables.push_str(&format!("[edge.{name}]\n{keys}"));
        }
        let Tls { ca, client: (certificate, key), .. } = self.cluster.tls().context("etcd has no TLS")?;
        let text = format!(
            "[daemon]\nsocket = \"{0}/cutover.sock\"\nstate = \"{0}/state\"\nstore = \"etcd\"
            [daemon.etcd]\nendpoints = {1:?}\nttl = \"{2}s\"\nca = {ca:?}\nclient_cert = {certificate:?}\nclient_key = {key:?}
            {tables}\n{groups}",
            folder.display(),
            self.cluster.endpoints(),
            TTL.as_secs(),
        );
        let daemon = Daemon::start_through(&host.through(), folder, &text).await?;
        Ok(DaemonHost { daemon, host, proxies })
    }

    /// One daemon.
    pub fn daemon(&self, number: usize) -> Result<&DaemonHost> {
        self.daemons.get(number).with_context(|| format!("there is no daemon {number}"))
    }

    /// The same.
    pub fn daemon_mut(&mut self, number: usize) -> Result<&mut DaemonHost> {
        self.daemons.get_mut(number).with_context(|| format!("there is no daemon {number}"))
    }

    /// The daemon that says that it leads.
    pub fn leader(&self) -> Option<usize> {
        self.daemons.iter().position(DaemonHost::leads)
    }

    /// Waits until a daemon leads.
    pub async fn until_leader(&self) -> Result<usize> {
        wait::until_some(wait::PATIENCE, "a daemon to lead", || self.leader()).await
    }

    /// The daemon that etcd says leads.
    pub fn leader_of(&self, watch: &JournalWatch) -> Option<usize> {
        let socket = watch.leader()?;
        self.daemons.iter().position(|host| host.daemon.socket() == socket)
    }

    /// Loses each packet from a daemon to the members, or delivers them again.
    pub fn lose_store(&self, daemon: usize, lost: bool) -> Result<()> {
        let host = &self.daemon(daemon)?.host;
        for member in self.cluster.addresses() {
            if let IpAddr::V4(address) = member.ip() {
                host.lose_packets_to(address, lost)?;
            }
        }
        Ok(())
    }
}

impl Drop for DaemonHosts {
    fn drop(&mut self) {
        // The daemons first, because they may move the route.
        self.daemons.clear();
    }
}

impl DaemonHost {
    /// Whether it says that it leads.
    pub fn leads(&self) -> bool {
        let status = self.daemon.pid().and_then(|_| self.daemon.status("shop").ok());
        status.is_some_and(|status| status.pointer("/leader/me") == Some(&true.into()))
    }

    /// Stops it with SIGSTOP, or lets it go on.
    pub fn pause(&self, is_paused: bool) -> Result<()> {
        let pid = self.daemon.pid().context("the daemon does not run")?;
        process::signal(pid, if is_paused { Signal::STOP } else { Signal::CONT })
    }

    /// Holds its changes of routes back.
    pub fn hold(&self) {
        self.proxies.iter().for_each(|proxy| proxy.hold(""));
    }

    /// Holds the changes on the last edge back, or with one edge those of one group.
    pub fn hold_some(&self, group: &str) {
        match self.proxies.as_slice() {
            [.., _, last] => last.hold(""),
            one => one.iter().for_each(|proxy| proxy.hold(&format!("/{group}/"))),
        }
    }

    /// Delivers them.
    pub fn deliver(&self) {
        self.proxies.iter().for_each(AdminProxy::deliver);
    }

    /// When its log has these texts in one line, from `from` on.
    pub fn logged(&self, from: Timestamp, texts: &[&str]) -> Vec<Timestamp> {
        let log = self.daemon.log();
        let lines = log.lines().filter(|line| texts.iter().all(|text| line.contains(text)));
        let at = lines.filter_map(|line| line.split_whitespace().next()?.parse().ok());
        at.filter(|at: &Timestamp| *at >= from).collect()
    }
}
