//! The controller of Argo Rollouts.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};

use super::cluster::Cluster;
use super::control_plane::flag;
use super::machine::Server;
use super::patience;
use super::programs::fetched;
use crate::{client, ports};

/// A controller for all namespaces of the cluster: one is enough. Drop kills it.
#[derive(Debug)]
pub struct ArgoRollouts {
    server: Server,
}

impl ArgoRollouts {
    /// Starts it. Returns when it is healthy.
    pub async fn start(cluster: &Cluster) -> Result<Self> {
        cluster.kubectl().apply_folder(&fetched("argo-rollouts", "crds")).await?;
        let (metrics, health) = (ports::free()?.port(), ports::free()?.port());
        let flags = [
            flag("kubeconfig", &cluster.kubectl().kubeconfig().display().to_string()),
            flag("leader-elect", "false"),
            flag("metricsPort", &metrics.to_string()),
            flag("healthzPort", &health.to_string()),
        ];
        let program = fetched("argo-rollouts", "rollouts-controller");
        let started = Self { server: cluster.machine().start("argo-rollouts", &program, &flags)? };
        let health = SocketAddr::from((Ipv4Addr::LOCALHOST, health));
        let healthy = patience::until("Argo Rollouts to be healthy", async || {
            client::get(health, "/healthz").await.is_ok_and(|answer| answer.status == 200)
        });
        healthy.await.with_context(|| started.server.log_tail())?;
        Ok(started)
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        self.server.log()
    }
}
