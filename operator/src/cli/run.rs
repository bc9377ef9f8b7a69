//! `run`: drives the deployments of all resources.

use std::net::SocketAddr;

use clap::Args;
use cutover_operator::client::client;
use cutover_operator::leader::{Election, lead};
use cutover_operator::{controller, serve};
use tokio::signal::unix::{SignalKind, signal};

/// The arguments.
#[derive(Args, Debug)]
pub(super) struct Run {
    /// Only the BlueGreens of this namespace; those of all if absent.
    #[arg(long, env = "CUTOVER_NAMESPACE")]
    namespace: Option<String>,
    /// The namespace of the Lease; that of the Pod if absent.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    lease_namespace: String,
    /// The Lease that the operators share.
    #[arg(long, default_value = "cutover-operator")]
    lease: String,
    /// Who this is among the operators: the name of the Pod.
    #[arg(long, env = "POD_NAME", default_value = "cutover-operator")]
    identity: String,
    /// How long the Lease lasts without a renewal, in seconds.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(3..=300))]
    lease_seconds: u64,
    /// Where to answer the probes of the kubelet and Prometheus: /healthz, /readyz, /metrics. Nowhere if absent.
    #[arg(long, env = "CUTOVER_LISTEN", value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
}

impl Run {
    /// Runs until SIGTERM, or until another operator has the Lease.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        super::log();
        let client = client().await?;
        if let Some(address) = self.listen {
            let bound = serve::serve(address, client.clone(), self.namespace.clone()).await?;
            tracing::info!(address = %bound, "serving /healthz, /readyz and /metrics");
        }
        let election = Election {
            namespace: self.lease_namespace,
            lease: self.lease,
            identity: self.identity,
            duration: self.lease_seconds,
        };
        let mut terminated = signal(SignalKind::terminate())?;
        let mut interrupted = signal(SignalKind::interrupt())?;
        let until_told = async {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = interrupted.recv() => {}
            }
        };
        let work = || async {
            tokio::select! {
                () = controller::run(client.clone(), self.namespace.as_deref(), election.clone()) => {}
                () = until_told => tracing::info!("told to end; the next operator goes on where this one ends"),
            }
        };
        lead(client.clone(), &election, work).await
    }
}
