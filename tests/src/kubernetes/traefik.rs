//! Traefik as a gateway: it serves the HTTPRoutes of one namespace with a data plane of its own.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use serde_json::json;

use super::control_plane::flag;
use super::machine::Server;
use super::namespace::Namespace;
use super::patience;
use super::programs::fetched;
use crate::client::{self, Answer, Client};
use crate::ports;

const CONTROLLER: &str = "traefik.io/gateway-controller";
/// A Traefik. Drop kills it.
#[derive(Debug)]
pub struct Traefik {
    address: SocketAddr,
    server: Server,
}

impl Traefik {
    /// The name of the Gateway that it makes in the namespace. Routes name it as their parent.
    pub const GATEWAY: &str = "traefik";

    /// Starts it. Returns when it has programmed its Gateway.
    pub async fn start(namespace: &Namespace<'_>) -> Result<Self> {
        let cluster = namespace.cluster();
        let folder = fetched("gateway-api", "");
        cluster.kubectl().apply_folder(&folder).await?;
        let (address, own) = (ports::free()?, ports::free()?);
        let gateway = json!({ "apiVersion": "v1", "kind": "List", "items": [
            {
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "GatewayClass",
                "metadata": { "name": "traefik" },
                "spec": { "controllerName": CONTROLLER },
            },
            {
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "Gateway",
                "metadata": { "name": Self::GATEWAY },
                "spec": {
                    "gatewayClassName": "traefik",
                    "listeners": [{ "name": "http", "protocol": "HTTP", "port": address.port() }],
                },
            },
        ] });
        namespace.kubectl().apply(&gateway.to_string()).await?;

        let provider = |name: &str, value: &str| flag(&format!("providers.kubernetesgateway.{name}"), value);
        let flags = [
            flag("global.checknewversion", "false"),
            flag("global.sendanonymoususage", "false"),
            flag("log.level", "INFO"),
            flag("entrypoints.web.address", &address.to_string()),
            flag("entrypoints.traefik.address", &own.to_string()),
            flag("ping", "true"),
            provider("endpoint", cluster.url()),
            provider("token", cluster.admin_token()),
            provider("certauthfilepath", &cluster.authority().display().to_string()),
            provider("namespaces", namespace.name()),
            provider("statusaddress.ip", "127.0.0.1"),
        ];
        let name = format!("traefik-{}", namespace.name());
        let server = cluster.machine().start(&name, &fetched("traefik", "traefik"), &flags)?;
        let started = Self { address, server };
        let answers = patience::until("Traefik to answer", async || {
            client::get(own, "/ping").await.is_ok_and(|answer| answer.status == 200)
        });
        answers.await.with_context(|| started.server.log_tail())?;
        let programmed =
            ["wait", "--for=condition=Programmed", &patience::timeout(), "gateway", Self::GATEWAY];
        namespace.kubectl().run(&programmed).await.with_context(|| started.server.log_tail())?;
        Ok(started)
    }

    /// Where it serves routes.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A request for a host.
    pub async fn get(&self, host: &str, target: &str) -> Result<Answer> {
        Client::connect(self.address).await?.request("GET", target, &[("host", host)]).await
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        self.server.log()
    }
}
