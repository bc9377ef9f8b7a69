//! A namespace of Kubernetes for one test.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use serde_json::Value;

use super::cluster::Cluster;
use super::kubectl::Kubectl;
use super::patience;

/// A namespace. Drop tells the cluster to delete it with all that is in it.
#[derive(Debug)]
pub struct Namespace<'a> {
    cluster: &'a Cluster,
    kubectl: Kubectl,
}

/// A pod that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its address, where a test may listen.
    pub address: IpAddr,
}

impl Cluster {
    /// Creates a namespace. Returns when pods can be made in it.
    pub async fn namespace(&self) -> Result<Namespace<'_>> {
        Namespace::create(self, &self.name_for_namespace()).await
    }
}

impl<'a> Namespace<'a> {
    async fn create(cluster: &'a Cluster, name: &str) -> Result<Self> {
        cluster.kubectl().run(&["create", "namespace", name]).await?;
        let kubectl = Kubectl::new(cluster.kubectl().kubeconfig().clone(), name);
        // A pod is refused before its service account is there.
        patience::until("the service account of a new namespace", async || {
            kubectl.run(&["get", "serviceaccount", "default"]).await.is_ok()
        })
        .await
        .with_context(|| cluster.logs())?;
        Ok(Self { cluster, kubectl })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.kubectl.namespace()
    }

    /// The cluster.
    pub fn cluster(&self) -> &'a Cluster {
        self.cluster
    }

    /// The administrator's `kubectl` in it.
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// `kubectl` of a service account of it.
    pub async fn kubectl_as(&self, service_account: &str) -> Result<Kubectl> {
        let kubeconfig = self.cluster.kubeconfig_of(self.name(), service_account).await?;
        Ok(Kubectl::new(kubeconfig, self.name()))
    }

    /// Waits until a Deployment has all its pods, of its newest version, ready.
    pub async fn until_rolled_out(&self, deployment: &str) -> Result<()> {
        let words = ["rollout", "status", "deployment", deployment, "--watch", &patience::timeout()];
        self.kubectl.run(&words).await.with_context(|| self.cluster.logs())?;
        Ok(())
    }

    /// The pods that match a label selector and run, in the order of their names.
    pub async fn pods(&self, selector: &str) -> Result<Vec<Pod>> {
        let words = ["pods", "--field-selector=status.phase=Running", "--selector", selector];
        let pods = self.kubectl.get(&words).await?;
        let mut found = Vec::new();
        for pod in items(&pods) {
            let text = |pointer| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let address =
                text("/status/podIP").parse().with_context(|| format!("a pod without address: {pod}"))?;
            found.push(Pod { name: text("/metadata/name").to_owned(), address });
        }
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    /// The ready endpoints of a Service, in order.
    pub async fn endpoints(&self, service: &str) -> Result<Vec<SocketAddr>> {
        let selector = format!("kubernetes.io/service-name={service}");
        let slices = self.kubectl.get(&["endpointslices", "--selector", &selector]).await?;
        let mut found = Vec::new();
        for slice in items(&slices) {
            let list = |name: &str| slice.get(name).and_then(Value::as_array).into_iter().flatten();
            let ports: Vec<u16> =
                list("ports").filter_map(|port| port.get("port")?.as_u64()?.try_into().ok()).collect();
            let ready = |endpoint: &&Value| endpoint.pointer("/conditions/ready") == Some(&Value::Bool(true));
            for endpoint in list("endpoints").filter(ready) {
                let addresses = endpoint.get("addresses").and_then(Value::as_array).into_iter().flatten();
                for address in addresses.filter_map(Value::as_str) {
                    let address: IpAddr = address.parse()?;
                    found.extend(ports.iter().map(|port| SocketAddr::new(address, *port)));
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// Waits until a Service has as many ready endpoints. Their controller writes them a moment after the Pods or the selector.
    pub async fn until_size(&self, service: &str, expected: usize) -> Result<()> {
        let mut seen = Vec::new();
        let waited = patience::until("the endpoints of a Service", async || {
            seen = self.endpoints(service).await.unwrap_or_default();
            seen.len() == expected
        });
        waited.await.with_context(|| format!("expected {expected} for {service}, there are {seen:?}"))
    }

    /// Waits until a Service has exactly these ready endpoints.
    pub async fn until_endpoints(&self, service: &str, expected: &[SocketAddr]) -> Result<()> {
        let mut expected = expected.to_vec();
        expected.sort();
        let mut seen = Vec::new();
        let waited = patience::until("the endpoints of a Service", async || {
            seen = self.endpoints(service).await.unwrap_or_default();
            seen == expected
        });
        waited.await.with_context(|| format!("expected {expected:?} for {service}, there are {seen:?}"))
    }

    /// Deletes it. Returns when all that was in it has gone.
    pub async fn delete(&self) -> Result<()> {
        self.cluster.kubectl().run(&["delete", "namespace", self.name(), &patience::timeout()]).await?;
        Ok(())
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        // The API server may be stopped.
        let words = [
            "delete",
            "namespace",
            self.name(),
            "--wait=false",
            "--ignore-not-found",
            "--request-timeout=5s",
        ];
        let _ = self.cluster.kubectl().command(&words).output();
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.get("items").and_then(Value::as_array).into_iter().flatten()
}
