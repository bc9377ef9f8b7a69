//! A cluster of etcd in a temporary folder: on loopback, or with each member on a host of its own.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use etcd_client::{Certificate, Client, ConnectOptions, Identity, TlsOptions};

use crate::network::Host;
use crate::process::{self, Pid, Signal};
use crate::temp::TempDir;
use crate::{ports, wait};

/// A running cluster. Drop kills its members.
#[derive(Debug)]
pub struct Cluster {
    members: Vec<Member>,
    folder: TempDir,
    tls: Option<Tls>,
}

/// What a cluster with TLS needs. Clients must present a certificate of the same authority.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The authority that has signed the certificates.
    pub ca: PathBuf,
    /// The certificate of the members, for their addresses.
    pub server: (PathBuf, PathBuf),
    /// The certificate of a client, and its key.
    pub client: (PathBuf, PathBuf),
}

#[derive(Debug)]
struct Member {
    name: String,
    client: SocketAddr,
    peer: SocketAddr,
    child: Option<Child>,
    /// Where it runs. `None`: where the test runs.
    host: Option<Host>,
}

/// The ports of a member on a host of its own.
const PORTS: [u16; 2] = [2379, 2380];

impl Cluster {
    /// Starts a cluster. Returns when each member answers.
    pub async fn start(members: usize) -> Result<Self> {
        Self::start_with(members, None).await
    }

    /// The same with TLS for clients. `make_tls` is called with the folder of the cluster.
    pub async fn start_with(members: usize, make_tls: Option<fn(&Path) -> Result<Tls>>) -> Result<Self> {
        let folder = TempDir::new()?;
        let tls = make_tls.map(|make| make(folder.path())).transpose()?;
        let mut all = Vec::new();
        for number in 0..members {
            let (client, peer) = (ports::free()?, ports::free()?);
            all.push(Member { name: format!("m{number}"), client, peer, child: None, host: None });
        }
        Self { members: all, folder, tls }.up().await
    }

    /// Starts a member on each of these hosts, so a test can cut members off from each other. Returns when each answers.
    pub async fn start_on(hosts: Vec<Host>, tls: Tls) -> Result<Self> {
        let member = |(number, host): (usize, Host)| {
            let [client, peer] = PORTS.map(|port| SocketAddr::from((host.address(), port)));
            Member { name: format!("m{number}"), client, peer, child: None, host: Some(host) }
        };
        let members = hosts.into_iter().enumerate().map(member).collect();
        Self { members, folder: TempDir::new()?, tls: Some(tls) }.up().await
    }

    async fn up(mut self) -> Result<Self> {
        for number in 0..self.members.len() {
            self.spawn(number)?;
        }
        for number in 0..self.members.len() {
            self.until_up(number).await?;
        }
        Ok(self)
    }

    /// The URL of each member.
    pub fn endpoints(&self) -> Vec<String> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        self.members.iter().map(|member| format!("{scheme}://{}", member.client)).collect()
    }

    /// The address of each member.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().map(|member| member.client).collect()
    }

    /// The certificates.
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Sends SIGKILL to a member and waits for its end.
    pub fn kill(&mut self, member: usize) -> Result<()> {
        let mut child = self.member(member)?.child.take().context("the member does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Starts a member again, with the data that it had. Returns when it answers.
    pub async fn restart(&mut self, member: usize) -> Result<()> {
        self.spawn(member)?;
        self.until_up(member).await
    }

    /// Stops a member with SIGSTOP, or lets it go on.
    pub fn pause(&mut self, member: usize, paused: bool) -> Result<()> {
        let signal = if paused { Signal::STOP } else { Signal::CONT };
        process::signal(self.pid(member)?, signal)
    }

    /// Cuts a member that is on a host of its own off from everything, or connects it again.
    pub fn cut_off(&self, member: usize, is_cut: bool) -> Result<()> {
        let host = self.members.get(member).and_then(|member| member.host.as_ref());
        let host = host.with_context(|| format!("member {member} has no host of its own"))?;
        if is_cut { host.cut_off() } else { host.reconnect() }
    }

    /// A client of one member.
    pub async fn client(&self, member: usize) -> Result<Client> {
        let endpoints = self.endpoints();
        let endpoint = endpoints.get(member).with_context(|| format!("there is no member {member}"))?;
        let mut options = ConnectOptions::new();
        if let Some(Tls { ca, client: (certificate, key), .. }) = &self.tls {
            let tls = TlsOptions::new()
                .ca_certificate(Certificate::from_pem(fs::read(ca)?))
                .identity(Identity::from_pem(fs::read(certificate)?, fs::read(key)?));
            options = options.with_tls(tls);
        }
        Ok(Client::connect([endpoint], Some(options)).await?)
    }

    /// Waits until all members agree on the one that leads them. Returns its number.
    pub async fn until_led(&self) -> Result<usize> {
        let mut led = None;
        let agree = wait::until_async(wait::PATIENCE, "the members of etcd to agree", async || {
            led = self.leading_member().await;
            led.is_some()
        });
        agree.await?;
        led.context("no member leads")
    }

    async fn leading_member(&self) -> Option<usize> {
        let mut seen = Vec::new();
        for number in 0..self.members.len() {
            let status = self.client(number).await.ok()?.status().await.ok()?;
            seen.push((status.header()?.member_id(), status.leader()));
        }
        let (_, leader) = *seen.first()?;
        seen.iter().all(|(_, says)| *says == leader).then_some(())?;
        seen.iter().position(|(member, _)| *member == leader)
    }

    fn pid(&mut self, member: usize) -> Result<Pid> {
        let child = self.member(member)?.child.as_ref().context("the member does not run")?;
        i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a process id out of range")
    }

    fn member(&mut self, member: usize) -> Result<&mut Member> {
        self.members.get_mut(member).with_context(|| format!("there is no member {member}"))
    }

    fn spawn(&mut self, number: usize) -> Result<()> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let peers = self.members.iter().map(|member| format!("{}=http://{}", member.name, member.peer));
        let peers = peers.collect::<Vec<_>>().join(",");
        let tls = self.tls.clone();
        let folder = self.folder.path().to_owned();
        let member = self.member(number)?;
        let log =
            File::options().create(true).append(true).open(folder.join(format!("{}.log", member.name)))?;
        let (client, peer) = (format!("{scheme}://{}", member.client), format!("http://{}", member.peer));
        let through = member.host.as_ref().map(Host::through);
        let mut words = through.iter().flatten().map(String::as_str).chain(["etcd"]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command
            .args(words)
            .env_clear()
            // nsenter looks for etcd there.
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .args(["--name", &member.name, "--initial-cluster-token", "cutover-test"])
            .args(["--initial-cluster", &peers, "--log-outputs", "stderr", "--pre-vote"])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .arg("--data-dir")
            .arg(folder.join(&member.name))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        if let Some(Tls { ca, server: (certificate, key), .. }) = tls {
            command.arg("--client-cert-auth").arg("--trusted-ca-file").arg(ca);
            command.arg("--cert-file").arg(certificate).arg("--key-file").arg(key);
        }
        let child = command.spawn().context("failed to start etcd: install Debian's etcd-server")?;
        member.child = Some(child);
        Ok(())
    }

    async fn until_up(&mut self, number: usize) -> Result<()> {
        let log = self.folder.path().join(format!("m{number}.log"));
        let pid = self.pid(number)?;
        // Its log says so last, when it has joined the cluster and serves clients.
        let is_up = || {
            let text = fs::read_to_string(&log).unwrap_or_default();
            let last = text.rfind("Starting etcd").or(text.rfind("etcd Version")).unwrap_or_default();
            let now = text.get(last..).unwrap_or_default();
            now.contains("ready to serve client requests") || !process::alive(pid)
        };
        let came_up = wait::until("a member of etcd to answer", is_up).await;
        came_up.with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
        ensure!(process::alive(pid), "etcd ended:\n{}", fs::read_to_string(&log).unwrap_or_default());
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            if let Some(mut child) = member.child.take() {
                // It may be stopped: SIGKILL ends it all the same.
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}
