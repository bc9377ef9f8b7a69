//! The objects of Argo, read and changed.

use std::sync::Arc;

use cutover_engine::edge::EdgeError;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{ApiResource, ListParams, Patch, PatchParams};
use kube::core::{DynamicObject, GroupVersionKind};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::super::errors::unread;
use super::super::{Names, Watched};
use super::ArgoRolloutsSpec;
use super::reading::Reading;
use super::unsuitable::unsuitable;
use crate::edge::names::MANAGER;

/// The label by which Argo's ReplicaSets, Pods and Services belong together.
pub(super) const HASH: &str = "rollouts-pod-template-hash";

/// The Rollouts of a namespace.
pub fn api(client: &Client, namespace: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("argoproj.io", "v1alpha1", "Rollout");
    Api::namespaced_with(client.clone(), namespace, &ApiResource::from_gvk(&kind))
}

/// A Rollout and what belongs to it.
#[derive(Clone)]
pub(super) struct Rollout {
    watched: Arc<Watched>,
    names: Names,
    name: String,
}

impl Rollout {
    pub(super) fn new(watched: Arc<Watched>, names: Names, spec: &ArgoRolloutsSpec) -> Self {
        Self { watched, names, name: spec.rollout.clone() }
    }

    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The Rollout, in messages.
    pub(super) fn what(&self) -> String {
        format!("Rollout \"{}\" in namespace \"{}\"", self.name, self.names.namespace)
    }

    pub(super) fn api(&self) -> Api<DynamicObject> {
        api(self.watched.client(), &self.names.namespace)
    }

    /// Reads the route.
    pub(super) async fn read(&self) -> Result<Reading, EdgeError> {
        let object = self.api().get(&self.name).await.map_err(|error| unread(&self.what(), error))?;
        self.check(&object).map_err(|why| EdgeError::Unusable { what: self.what(), why })?;
        let services: Api<Service> = self.namespaced();
        let what = format!("Service \"{}\" in namespace \"{}\"", self.names.service, self.names.namespace);
        let service = services.get(&self.names.service).await.map_err(|error| unread(&what, error))?;
        let selector = service.spec.and_then(|spec| spec.selector).unwrap_or_default();
        let hash = selector.get(HASH).cloned().ok_or_else(|| EdgeError::Unusable {
            what,
            why: format!("its selector has no {HASH}: does the controller of Argo Rollouts run?"),
        })?;
        let first = self.names.slots.first().map(|(slot, _)| slot.as_str()).unwrap_or_default();
        Ok(Reading::new(object, hash, first))
    }

    /// Fails if the Rollout is not one that the operator can promote.
    fn check(&self, object: &DynamicObject) -> Result<(), String> {
        let wrong = unsuitable(&object.data, &self.names.service).into_iter().next();
        wrong.map_or(Ok(()), |wrong| Err(format!("it {wrong}")))
    }

    /// The addresses of the ready Pods of a ReplicaSet.
    pub(super) async fn pods(&self, hash: &str) -> Result<Vec<String>, EdgeError> {
        let pods: Api<Pod> = self.namespaced();
        let own = ListParams::default().labels(&format!("{HASH}={hash}"));
        let what = format!("the Pods of {}", self.what());
        let listed = pods.list(&own).await.map_err(|error| unread(&what, error))?;
        let Some(port) = self.port().await? else { return Ok(Vec::new()) };
        let address = |pod: &Pod| {
            let status = pod.status.as_ref().filter(|_| pod.metadata.deletion_timestamp.is_none())?;
            let ready =
                status.conditions.iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True");
            let address = status.pod_ip.as_ref().filter(|_| ready)?;
            Some(if address.contains(':') {
                format!("[{address}]:{port}")
            } else {
                format!("{address}:{port}")
            })
        };
        Ok(listed.iter().filter_map(address).collect())
    }

    /// The port of the Pods: the one behind the active Service.
    async fn port(&self) -> Result<Option<String>, EdgeError> {
        let endpoints = self.watched.endpoints(&self.names, &self.names.service).await?;
        let first = endpoints.peers().into_iter().next();
        Ok(first.and_then(|peer| peer.address.rsplit_once(':').map(|(_, port)| port.to_owned())))
    }

    /// The Pod template of a ReplicaSet, as the Rollout had it.
    pub(super) async fn template_of(&self, hash: &str) -> Result<Value, EdgeError> {
        let sets: Api<ReplicaSet> = self.namespaced();
        let own = ListParams::default().labels(&format!("{HASH}={hash}"));
        let what = format!("ReplicaSet {hash} of {}", self.what());
        let listed = sets.list(&own).await.map_err(|error| unread(&what, error))?;
        let unusable = |why: &str| EdgeError::Unusable { what: what.clone(), why: why.to_owned() };
        let set = listed.items.into_iter().next();
        let set = set.ok_or_else(|| unusable("it is gone: deploy its version again"))?;
        let template = set.spec.and_then(|spec| spec.template);
        let mut template = serde_json::to_value(template).map_err(|error| unusable(&error.to_string()))?;
        if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
            labels.remove(HASH);
        }
        Ok(template)
    }

    /// Changes the Rollout if it has this resource version.
    pub(super) async fn patch(
        &self,
        version: &str,
        operations: Vec<Value>,
    ) -> Result<DynamicObject, kube::Error> {
        let mut all = vec![json!({ "op": "replace", "path": "/metadata/resourceVersion", "value": version })];
        all.extend(operations);
        let patch: json_patch::Patch =
            serde_json::from_value(Value::Array(all)).map_err(kube::Error::SerdeError)?;
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        self.api().patch(&self.name, &params, &Patch::<Value>::Json(patch)).await
    }

    /// Tells the controller to give the newest ReplicaSet the active Service, if the Rollout has this resource version.
    pub(super) async fn promote(&self, object: &DynamicObject) -> Result<(), kube::Error> {
        let patch = json!({
            "metadata": { "resourceVersion": object.resource_version() },
            "status": { "promoteFull": true },
        });
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        self.api().patch_status(&self.name, &params, &Patch::Merge(patch)).await.map(drop)
    }

    fn namespaced<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.watched.client().clone(), &self.names.namespace)
    }
}

/// The operation that sets an annotation.
pub(super) fn annotate(key: &str, value: &str) -> Value {
    json!({ "op": "add", "path": format!("/metadata/annotations/{}", key.replace('/', "~1")), "value": value })
}

/// The operations before the first annotation of an object.
pub(super) fn with_annotations(object: &DynamicObject) -> Option<Value> {
    object
        .metadata
        .annotations
        .is_none()
        .then(|| json!({ "op": "add", "path": "/metadata/annotations", "value": {} }))
}
