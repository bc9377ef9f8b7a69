//! `agent`: gives the routes to the nginx of one Pod of ingress-nginx.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use cutover_operator::agent::{self, Settings};
use cutover_operator::client::client;
use cutover_operator::edge::AGENT_PORT;
use tokio::signal::unix::{SignalKind, signal};

/// The arguments.
#[derive(Args, Debug)]
pub(super) struct Agent {
    /// The name of the Pod.
    #[arg(long, env = "POD_NAME")]
    pod: String,
    /// The namespace of the Pod.
    #[arg(long, env = "POD_NAMESPACE")]
    pod_namespace: String,
    /// The module's admin API in this Pod: a location with cutover_api write=on and a token file.
    #[arg(long, default_value = "127.0.0.1:18180", value_name = "IP:PORT")]
    admin: SocketAddr,
    /// The file with the token of that API. Whoever reads the agent must have the token, too.
    #[arg(long, default_value = "/modules_mount/cutover/token", value_name = "FILE")]
    token_file: PathBuf,
    /// Where the controller tells its backends.
    #[arg(long, default_value = "127.0.0.1:10246", value_name = "IP:PORT")]
    controller: SocketAddr,
    /// Where the agent answers the operator and the probes of the kubelet.
    #[arg(long, default_value_t = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), AGENT_PORT), value_name = "IP:PORT")]
    listen: SocketAddr,
    /// Only the BlueGreens of this namespace; those of all if absent.
    #[arg(long, env = "CUTOVER_NAMESPACE")]
    namespace: Option<String>,
}

impl Agent {
    /// Runs until SIGTERM.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        super::log();
        let client = client().await?;
        let settings = Settings {
            pod: self.pod,
            namespace: self.pod_namespace,
            admin: self.admin,
            token_file: self.token_file,
            controller: self.controller,
            listen: self.listen,
            watched: self.namespace,
        };
        let mut terminated = signal(SignalKind::terminate())?;
        let mut interrupted = signal(SignalKind::interrupt())?;
        tokio::select! {
            ended = agent::run(client, settings) => ended,
            _ = terminated.recv() => Ok(()),
            _ = interrupted.recv() => Ok(()),
        }
    }
}
