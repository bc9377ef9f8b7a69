//! The operator's agent beside a controller of ingress-nginx.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::ingress_nginx::{IngressNginx, TOKEN};
use super::machine::Server;
use super::namespace::Namespace;
use crate::client::{Answer, Client};
use crate::flavour::program;

/// The port on which agents answer unless the spec says otherwise.
const PORT: u16 = 18181;

/// The label of the Pods of the test's controllers.
const LABEL: (&str, &str) = ("test.cutover.dev/role", "controller");

/// An agent. Drop kills it.
#[derive(Debug)]
pub struct Agent {
    server: Server,
    arguments: Vec<String>,
    log: String,
    pod: String,
    address: SocketAddr,
}

impl Agent {
    /// Starts the agent of a controller at the address of the controller's Pod, which gets the label of [`edge`].
    pub async fn start(namespace: &Namespace<'_>, controller: &IngressNginx) -> Result<Self> {
        Self::start_as(namespace, controller, namespace.kubectl().kubeconfig()).await
    }

    /// The same with this kubeconfig.
    pub async fn start_as(
        namespace: &Namespace<'_>,
        controller: &IngressNginx,
        kubeconfig: &Path,
    ) -> Result<Self> {
        let pod = controller.class().to_owned();
        let label = format!("{}={}", LABEL.0, LABEL.1);
        namespace.kubectl().run(&["label", "pod", &pod, &label, "--overwrite"]).await?;
        let selector = format!("app={pod}");
        let found = namespace.pods(&selector).await?;
        let address = SocketAddr::new(found.first().context("the controller has no Pod")?.address, PORT);
        let token = token_file(namespace.cluster().machine().folder())?;
        let arguments: Vec<String> = [
            &format!("KUBECONFIG={}", kubeconfig.display()),
            "RUST_LOG=info,cutover_operator=debug",
            "RUST_BACKTRACE=1",
            &program("cutover-operator")?.display().to_string(),
            "agent",
            "--pod",
            &pod,
            "--pod-namespace",
            namespace.name(),
            "--namespace",
            namespace.name(),
            "--admin",
            &controller.admin().to_string(),
            "--token-file",
            &token.display().to_string(),
            "--controller",
            &controller.status().to_string(),
            "--listen",
            &address.to_string(),
        ]
        .map(str::to_owned)
        .into();
        let log = format!("agent-{pod}");
        let server = start(namespace, &log, &arguments)?;
        Ok(Self { server, arguments, log, pod, address })
    }

    /// Its Pod.
    pub fn pod(&self) -> &str {
        &self.pod
    }

    /// Its process.
    pub fn server(&mut self) -> &mut Server {
        &mut self.server
    }

    /// Starts it again after it was killed.
    pub fn start_again(&mut self, namespace: &Namespace<'_>) -> Result<()> {
        self.server = start(namespace, &self.log, &self.arguments)?;
        Ok(())
    }

    /// A request to it, with the token of the agents.
    pub async fn get(&self, target: &str) -> Result<Answer> {
        self.get_with(target, TOKEN).await
    }

    /// A request to it with another token.
    pub async fn get_with(&self, target: &str, token: &str) -> Result<Answer> {
        let token = format!("Bearer {token}");
        let headers = [("authorization", token.as_str())];
        Client::connect(self.address).await?.request("GET", target, &headers).await
    }

    /// Whether its Pod may get traffic, as the kubelet asks.
    pub async fn is_ready(&self) -> bool {
        self.get("/readyz").await.is_ok_and(|answer| answer.status == 200)
    }

    /// What it says about the `BlueGreen` `shop`.
    pub async fn shop(&self, namespace: &Namespace<'_>) -> Result<Value> {
        let answer = self.get(&format!("/v1/groups/{}/shop", namespace.name())).await?;
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        ensure!(answer.status == 200, "status {}: {body}", answer.status);
        Ok(serde_json::from_str(&body)?)
    }
}

/// The edge of a spec with the controllers of the test.
pub fn edge(namespace: &Namespace<'_>) -> Value {
    let (key, value) = LABEL;
    json!({ "ingressNginx": { "controller": { "namespace": namespace.name(), "selector": { key: value } } } })
}

/// Applies the Secret by which the operator reads the agents.
pub async fn apply_token(namespace: &Namespace<'_>) -> Result<()> {
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": "cutover-agent" },
        "stringData": { "token": TOKEN },
    });
    namespace.kubectl().apply(&secret.to_string()).await
}

fn start(namespace: &Namespace<'_>, log: &str, arguments: &[String]) -> Result<Server> {
    namespace.cluster().machine().start(log, Path::new("/usr/bin/env"), arguments)
}

/// The token as the agent may read it: that of the controller is its user's.
fn token_file(folder: &Path) -> Result<PathBuf> {
    let file = folder.join("agents-token");
    fs::write(&file, format!("{TOKEN}\n"))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    Ok(file)
}
