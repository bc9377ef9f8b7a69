//! Several hosts with nginx and the same group, in a [`Network`]. Each has the admin API at a TLS address, for clients of other
//! hosts with the token and a certificate of the test's CA.
//!
//! | fault | is |
//! |---|---|
//! | killed | [`Host::kill`], then `host.nginx.start()` |
//! | paused | [`Host::freeze`] |
//! | cut off | `host.network.cut_off()`, then `reconnect()` |
//! | slow | a [`Relay`] with a delay, and [`Hosts::keys_through`] it |
//! | switched by hand | `host.nginx.admin().switch(..)`, which works from everywhere |

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use cutover_core::api::Group;

use crate::certificate::{Authority, Certificate, Validity};
use crate::flavour::Flavour;
use crate::network::{self, Network};
use crate::process::{self, Pid, Signal};
use crate::temp::TempDir;
use crate::test_edge::{LOCATION, UPSTREAMS};
use crate::{Backend, Nginx, Relay};

/// The token of all hosts.
pub const TOKEN: &str = "dGhlIHNhbWUgb24gYWxsIGhvc3Rz";

/// The port of the admin API.
const ADMIN: u16 = 9443;
/// The port of the site.
const MAIN: u16 = 80;
/// Ports of the backends.
const BACKENDS: [u16; 2] = [3000, 3001];

const HTTP: &str = "
    cutover_state %%prefix%%/state;
    %%upstreams%%
    cutover shop { slot blue shop_blue; slot green shop_green; active blue; }
    proxy_http_version 1.1;
    proxy_set_header Connection '';
    server { listen %%main%%; %%location%% }
    server { listen %%admin%%; location / { cutover_api write=on; } }
    server {
        listen %%remote%% ssl;
        ssl_certificate %%certificate%%;
        ssl_certificate_key %%key%%;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_client_certificate %%ca%%;
        ssl_verify_client on;
        location / { cutover_api write=on remote=on token_file=%%token%%; }
    }
";

/// The hosts, and what they share. The backends of both slots are in the namespace of the test.
#[derive(Debug)]
pub struct Hosts {
    hosts: Vec<Host>,
    /// The server of slot `blue`.
    pub blue: Backend,
    /// The server of slot `green`.
    pub green: Backend,
    /// The CA of all certificates.
    pub authority: Authority,
    /// The certificate of the client, with the subject `CN=deployer`.
    pub client: Certificate,
    token: PathBuf,
    folder: TempDir,
}

/// One host with its nginx.
#[derive(Debug)]
pub struct Host {
    /// Its nginx. The unix socket of its admin API works from everywhere, and also while the host is cut off.
    pub nginx: Nginx,
    /// Its place in the network.
    pub network: network::Host,
}

impl Hosts {
    /// Starts this many hosts, with the addresses `10.77.0.1` and up. Returns `None` and prints why when the nginx has no TLS.
    pub async fn start(network: &Network, count: u8) -> Result<Option<Self>> {
        Self::start_with(network, count, &Self::http(), &[]).await
    }

    /// The same with another content of `http {}`, and the variables that it needs besides those of [`Hosts::http`].
    pub async fn start_with(
        network: &Network,
        count: u8,
        http: &str,
        variables: &[(&str, SocketAddr)],
    ) -> Result<Option<Self>> {
        if !Flavour::from_env()?.has_tls()? {
            println!("SKIPPED: this nginx has no TLS");
            return Ok(None);
        }
        let folder = TempDir::new()?;
        let authority = Authority::make(folder.path(), "authority")?;
        let client = authority.issue("deployer", "", Validity::Days(20))?;
        let token = folder.path().join("token");
        fs::write(&token, format!("{TOKEN}\n"))?;
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600))?;
        let [blue, green] = BACKENDS.map(|port| SocketAddr::from((Network::TEST, port)));
        let blue = Backend::start_at("blue", blue).await?;
        let green = Backend::start_at("green", green).await?;
        let mut all = Self { hosts: Vec::new(), blue, green, authority, client, token, folder };
        for number in 1..=count {
            let host = all.add(network, number, http, variables).await?;
            all.hosts.push(host);
        }
        Ok(Some(all))
    }

    /// The content of `http {}` of each host. A test can change it and reload.
    pub fn http() -> String {
        HTTP.replace("%%upstreams%%", UPSTREAMS).replace("%%location%%", LOCATION)
    }

    async fn add(
        &self,
        network: &Network,
        number: u8,
        http: &str,
        variables: &[(&str, SocketAddr)],
    ) -> Result<Host> {
        let network = network.host(number)?;
        let address = network.address();
        let own =
            self.authority.issue(&format!("edge{number}"), &format!("IP:{address}"), Validity::Days(20))?;
        let [enter, namespace] = network.through();
        let builder =
            variables.iter().fold(Nginx::builder(), |builder, (name, value)| builder.set(name, value));
        let nginx = builder
            .through(&[&enter, &namespace])
            .set("blue", self.blue.address())
            .set("green", self.green.address())
            .set("main", SocketAddr::from((address, MAIN)))
            .set("remote", SocketAddr::from((address, ADMIN)))
            .set("certificate", own.certificate.display())
            .set("key", own.key.display())
            .set("ca", self.authority.own.certificate.display())
            .set("token", self.token.display())
            .http(http)
            .start()
            .await?;
        Ok(Host { nginx, network })
    }

    /// The hosts, in the order of their addresses.
    pub fn all(&self) -> &[Host] {
        &self.hosts
    }

    /// One host; the first is 1.
    pub fn host(&self, number: usize) -> Result<&Host> {
        let host = number.checked_sub(1).and_then(|at| self.hosts.get(at));
        host.with_context(|| format!("there is no host {number}"))
    }

    /// The keys of `[edge.NAME]` in the daemon's configuration by which it reaches a host.
    pub fn keys(&self, host: &Host) -> String {
        format!("admin = \"{}\"\n{}", host.admin_url(), self.credentials())
    }

    /// The same through a relay, which can be slow or cut connections.
    pub fn keys_through(&self, relay: &Relay, host: &Host) -> String {
        let (url, name) = (relay.address(), host.address());
        format!("admin = \"https://{url}\"\nserver_name = \"{name}\"\n{}", self.credentials())
    }

    /// The keys of an edge for each host, for [`Daemon::start_with`](crate::Daemon::start_with). The first edge is `nginx`, the
    /// others are `host2`, `host3`, ..
    pub fn edges(&self) -> String {
        let section = |(at, host): (usize, &Host)| match at {
            0 => self.keys(host),
            at => format!("[edge.host{}]\n{}", at + 1, self.keys(host)),
        };
        self.hosts.iter().enumerate().map(section).collect()
    }

    /// The keys without the address.
    pub fn credentials(&self) -> String {
        format!(
            "token_file = \"{}\"\nca = \"{}\"\nclient_cert = \"{}\"\nclient_key = \"{}\"\n",
            self.token.display(),
            self.authority.own.certificate.display(),
            self.client.certificate.display(),
            self.client.key.display()
        )
    }

    /// The token file.
    pub fn token(&self) -> &PathBuf {
        &self.token
    }

    /// A folder for the daemon and others, removed with the hosts.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }
}

impl Host {
    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.network.address()
    }

    /// The URL of its admin API.
    pub fn admin_url(&self) -> String {
        format!("https://{}", self.admin_address())
    }

    /// The address of its admin API.
    pub fn admin_address(&self) -> SocketAddr {
        (self.address(), ADMIN).into()
    }

    /// The address of the site.
    pub fn main(&self) -> SocketAddr {
        (self.address(), MAIN).into()
    }

    /// The group, by the unix socket.
    pub async fn group(&self) -> Result<Group> {
        self.nginx.admin().group("shop").await
    }

    /// The slot that has the traffic, by the unix socket.
    pub async fn active(&self) -> Result<String> {
        Ok(self.group().await?.route.active)
    }

    /// Kills all processes of nginx. [`Nginx::start`] starts it again.
    pub fn kill(&self) {
        process::kill_now(&self.nginx.pids());
    }

    /// Stops all processes of nginx (SIGSTOP): the kernel still accepts connections.
    pub fn freeze(&self) -> Result<Frozen> {
        let frozen = Frozen { pids: self.nginx.pids() };
        frozen.pids.iter().try_for_each(|pid| process::signal(*pid, Signal::STOP))?;
        Ok(frozen)
    }
}

/// Processes that are stopped. Drop lets them continue.
#[derive(Debug)]
pub struct Frozen {
    pids: Vec<Pid>,
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for pid in &self.pids {
            let _ = process::signal(*pid, Signal::CONT);
        }
    }
}
