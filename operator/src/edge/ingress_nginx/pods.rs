//! The Pods of the controller.

use std::net::{IpAddr, SocketAddr};

use cutover_engine::edge::EdgeError;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use parking_lot::Mutex;

use super::spec::ControllerSpec;
use crate::edge::errors::unread;

/// Why there is no Pod, and what helps.
pub const NONE: &str = "none of them runs: install ingress-nginx with Cutover's module and its agent, or set \
                        spec.edge.ingressNginx.controller to the namespace and the labels of its Pods";

/// A Pod that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ControllerPod {
    /// Its name.
    pub(super) name: String,
    /// Its namespace.
    pub(super) namespace: String,
    /// Its unique id.
    pub(super) uid: String,
    /// Where its agent answers.
    pub(super) agent: SocketAddr,
    /// Whether users reach it: it is ready and is not being deleted.
    pub(super) is_ready: bool,
}

/// The Pods, as they were listed last.
pub(super) struct ControllerPods {
    client: Client,
    spec: ControllerSpec,
    known: Mutex<Vec<ControllerPod>>,
}

impl ControllerPods {
    pub(super) fn new(client: Client, spec: ControllerSpec) -> Self {
        Self { client, spec, known: Mutex::default() }
    }

    /// Lists the Pods that run.
    pub(super) async fn list(&self) -> Result<Vec<ControllerPod>, EdgeError> {
        let ControllerSpec { namespace, agent_port, .. } = &self.spec;
        let query = self.spec.query();
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let what = format!("Pods with labels {query} in namespace \"{namespace}\"");
        let listed = pods.list(&ListParams::default().labels(&query)).await;
        let listed = listed.map_err(|error| unread(&what, error))?;
        let found: Vec<ControllerPod> =
            listed.iter().filter_map(|pod| controller_pod(pod, *agent_port)).collect();
        if found.is_empty() {
            return Err(EdgeError::Unusable { what, why: NONE.to_owned() });
        }
        self.known.lock().clone_from(&found);
        Ok(found)
    }

    /// The same. While the API server does not answer, the Pods that were there.
    pub(super) async fn known(&self) -> Result<Vec<ControllerPod>, EdgeError> {
        match self.list().await {
            Err(error @ EdgeError::Unreachable { .. }) => {
                let known = self.known.lock().clone();
                if known.is_empty() { Err(error) } else { Ok(known) }
            }
            listed => listed,
        }
    }
}

fn controller_pod(pod: &Pod, port: u16) -> Option<ControllerPod> {
    let status = pod.status.as_ref()?;
    let address: IpAddr = status.pod_ip.as_ref()?.parse().ok()?;
    let is_ready = status.conditions.iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True");
    (status.phase.as_deref() == Some("Running")).then(|| ControllerPod {
        name: pod.name_any(),
        namespace: pod.namespace().unwrap_or_default(),
        uid: pod.uid().unwrap_or_default(),
        agent: SocketAddr::new(address, port),
        is_ready: is_ready && pod.metadata.deletion_timestamp.is_none(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_that_users_reach() {
        let pod = |phase: &str, ready: &str, deleted: Option<&str>| {
            let pod: Pod = serde_json::from_value(json!({
                "metadata": { "name": "controller-1", "uid": "u", "deletionTimestamp": deleted },
                "status": {
                    "phase": phase,
                    "podIP": "10.0.0.1",
                    "conditions": [{ "type": "Ready", "status": ready }],
                },
            }))
            .unwrap();
            controller_pod(&pod, 18181)
        };
        let ready = pod("Running", "True", None).unwrap();
        assert!(ready.is_ready);
        assert_eq!(ready.agent.to_string(), "10.0.0.1:18181");
        assert!(!pod("Running", "False", None).unwrap().is_ready);
        assert!(!pod("Running", "True", Some("2026-01-01T00:00:00Z")).unwrap().is_ready);
        assert_eq!(pod("Pending", "False", None), None);
    }
}
