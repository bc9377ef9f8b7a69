//! The operator, run against a cluster.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::NODE;
use super::machine::Server;
use super::namespace::Namespace;
use crate::flavour::program;

/// How long a deployment of a test may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// An operator of one namespace. Drop kills it.
#[derive(Debug)]
pub struct Operator {
    server: Server,
}

impl Operator {
    /// How long its Lease lasts without a renewal.
    pub const LEASE: Duration = Duration::from_secs(5);

    /// Installs the definition of the resource, and starts an operator as the administrator.
    pub async fn start(namespace: &Namespace<'_>) -> Result<Self> {
        install(namespace).await?;
        Self::start_as(namespace, "operator-0", namespace.kubectl().kubeconfig())
    }

    /// Starts an operator with this name and kubeconfig.
    pub fn start_as(namespace: &Namespace<'_>, name: &str, kubeconfig: &Path) -> Result<Self> {
        Self::start_with(namespace, name, kubeconfig, &[])
    }

    /// The same with more arguments.
    pub fn start_with(
        namespace: &Namespace<'_>,
        name: &str,
        kubeconfig: &Path,
        more: &[&str],
    ) -> Result<Self> {
        let operator = program("cutover-operator")?;
        let mut arguments: Vec<String> = [
            &format!("KUBECONFIG={}", kubeconfig.display()),
            "RUST_LOG=info,cutover_operator=debug,cutover_engine=debug",
            "RUST_BACKTRACE=1",
            &operator.display().to_string(),
            "run",
            "--namespace",
            namespace.name(),
            "--lease-namespace",
            namespace.name(),
            "--identity",
            name,
            "--lease-seconds",
            &Self::LEASE.as_secs().to_string(),
        ]
        .map(str::to_owned)
        .into();
        arguments.extend(more.iter().map(|more| (*more).to_owned()));
        let log = format!("{}-{name}", namespace.name());
        let server = namespace.cluster().machine().start(&log, Path::new("/usr/bin/env"), &arguments)?;
        Ok(Self { server })
    }

    /// Its process.
    pub fn server(&mut self) -> &mut Server {
        &mut self.server
    }
}

/// Installs the definition of the resource as `cutover-operator crd` prints it.
pub async fn install(namespace: &Namespace<'_>) -> Result<()> {
    let printed = tokio::process::Command::new(program("cutover-operator")?).arg("crd").output().await?;
    let definition = String::from_utf8(printed.stdout)?;
    let kubectl = namespace.cluster().kubectl();
    kubectl.apply(&definition).await?;
    kubectl.until_established(&["crd/bluegreens.cutover.dev"]).await
}

/// Two slots, `shop-blue` with this image and pods and `shop-green` with none, and the Service `shop` over blue.
pub async fn apply_slots(namespace: &Namespace<'_>, image: &str, replicas: u32) -> Result<()> {
    apply_slots_of(namespace, "shop", image, replicas).await
}

/// The same of another application.
pub async fn apply_slots_of(namespace: &Namespace<'_>, app: &str, image: &str, replicas: u32) -> Result<()> {
    let mut objects = vec![service(app, app, "blue")];
    for (slot, replicas) in [("blue", replicas), ("green", 0)] {
        objects.push(service(&format!("{app}-{slot}"), app, slot));
        objects.push(deployment(app, slot, image, replicas));
    }
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    namespace.kubectl().apply(&list.to_string()).await?;
    namespace.until_rolled_out(&format!("{app}-blue")).await
}

/// A `BlueGreen` named `shop` over these slots, with keys of the spec beside the usual ones.
pub async fn apply_shop(namespace: &Namespace<'_>, version: &str, more: &Value) -> Result<()> {
    namespace.kubectl().apply(&shop(version, more).to_string()).await
}

/// The same as an object.
pub fn shop(version: &str, more: &Value) -> Value {
    blue_green("shop", version, more)
}

/// The same of another application.
pub fn blue_green(app: &str, version: &str, more: &Value) -> Value {
    let slot =
        |slot: &str| json!({ "deployment": format!("{app}-{slot}"), "service": format!("{app}-{slot}") });
    let mut spec = json!({
        "service": app,
        "slots": { "blue": slot("blue"), "green": slot("green") },
        "edge": { "service": {} },
        "settle": "1s",
        "version": version,
        "template": { "image": format!("{app}:{version}") },
        "policy": {
            "probe": { "interval": "200ms", "deadline": "10s" },
            "soak": { "duration": "2s", "interval": "200ms" },
            "drain": { "deadline": "1s" },
            "warm": "3s",
        },
    });
    if let (Some(spec), Some(more)) = (spec.as_object_mut(), more.as_object()) {
        spec.extend(more.clone());
    }
    json!({
        "apiVersion": "cutover.dev/v1alpha1",
        "kind": "BlueGreen",
        "metadata": { "name": app },
        "spec": spec,
    })
}

/// Waits until the status of `shop` is as wanted. Returns it.
pub async fn until_status(
    namespace: &Namespace<'_>,
    what: &str,
    is: impl Fn(&Value) -> bool,
) -> Result<Value> {
    until_status_of(namespace, "shop", what, is).await
}

/// The same of another application.
pub async fn until_status_of(
    namespace: &Namespace<'_>,
    app: &str,
    what: &str,
    is: impl Fn(&Value) -> bool,
) -> Result<Value> {
    let begin = Instant::now();
    loop {
        let resource = namespace.kubectl().get(&["bluegreen", app, "--request-timeout=5s"]).await;
        let status = resource.as_ref().ok().and_then(|resource| resource.get("status").cloned());
        match status {
            Some(status) if is(&status) => return Ok(status),
            seen if begin.elapsed() > PATIENCE => {
                let events = namespace
                    .kubectl()
                    .run(&["get", "events", "--sort-by=.metadata.creationTimestamp"])
                    .await;
                bail!("waited for {what}: {seen:?}; events:\n{}", events.unwrap_or_default())
            }
            _ => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// Waits until the new version of `shop` is watched under its users. Returns the status.
pub async fn until_soaking(namespace: &Namespace<'_>) -> Result<Value> {
    until_status(namespace, "the soak", |status| text(status, "/phase") == "Soaking").await
}

/// The text at a pointer of a status; empty if there is none.
pub fn text<'a>(status: &'a Value, pointer: &str) -> &'a str {
    status.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The status of a condition, as in `True`; empty if there is none.
pub fn condition<'a>(status: &'a Value, kind: &str) -> &'a str {
    let conditions = status.get("conditions").and_then(Value::as_array).into_iter().flatten();
    let mut of_kind = conditions.filter(|one| one.get("type").and_then(Value::as_str) == Some(kind));
    of_kind.next().map_or("", |one| text(one, "/status"))
}

/// Waits until the last deployment has ended so. Returns the status.
pub async fn until_ended(namespace: &Namespace<'_>, version: &str, outcome: &str) -> Result<Value> {
    until_status(namespace, &format!("version {version} to end as {outcome}"), |status| {
        text(status, "/history/0/version") == version
            && text(status, "/history/0/outcome") == outcome
            && status.get("deployment").is_none()
    })
    .await
}

fn service(name: &str, app: &str, slot: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name },
        "spec": {
            "selector": { "app": app, "slot": slot },
            "ports": [{ "name": "http", "port": 80, "targetPort": "http" }],
        },
    })
}

fn deployment(app: &str, slot: &str, image: &str, replicas: u32) -> Value {
    let labels = json!({ "app": app, "slot": slot });
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": format!("{app}-{slot}") },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "nodeName": NODE, "containers": [
                    { "name": app, "image": image, "ports": [{ "name": "http", "containerPort": 8080 }] },
                ] },
            },
        },
    })
}

/// The slot that the selector of the Service `shop` names.
pub async fn selected(namespace: &Namespace<'_>) -> Result<String> {
    let service = namespace.kubectl().get(&["service", "shop"]).await?;
    let slot = service.pointer("/spec/selector/slot").and_then(Value::as_str);
    Ok(slot.context("the Service selects no slot")?.to_owned())
}
