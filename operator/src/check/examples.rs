//! The objects that a finding proposes: like those of the other slot, as far as there are any.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::candidate::Candidate;
use super::seen::{Labels, Seen, containers, own_labels, pod_labels, ports};

/// A slot: its name and those of its objects.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlotNames<'a> {
    pub(super) slot: &'a str,
    pub(super) deployment: &'a str,
    pub(super) service: &'a str,
}

/// The labels of the Pods of a slot that has none yet: those of the other slot, but for the one that tells them apart.
pub(super) fn labels(own: SlotNames<'_>, other: Option<(&str, &Deployment)>, service: &str) -> Labels {
    let Some((slot, other)) = other else {
        return [("app".to_owned(), service.to_owned()), ("slot".to_owned(), own.slot.to_owned())].into();
    };
    let mut labels = pod_labels(other);
    let known = own_labels(other);
    let telling = known.iter().find(|(_, value)| value.contains(slot)).or_else(|| known.iter().next());
    if let Some((key, value)) = telling {
        let new =
            if value.contains(slot) { value.replace(slot, own.slot) } else { own.deployment.to_owned() };
        labels.insert(key.clone(), new);
    }
    labels
}

/// A Deployment without Pods for a slot, like that of the other slot.
pub(super) fn deployment(
    candidate: &Candidate,
    own: SlotNames<'_>,
    other: Option<(&str, &Deployment)>,
) -> Value {
    let labels = labels(own, other, &candidate.setup.service);
    let copied = other.and_then(|(_, other)| json!(other).pointer("/spec/template/spec").cloned());
    let image = candidate.setup.template.as_ref().and_then(|template| template.image.clone());
    let pods = copied.unwrap_or_else(|| {
        json!({ "containers": [{
            "name": candidate.setup.service,
            "image": image.unwrap_or_else(|| format!("{}:{}", candidate.setup.service, candidate.setup.version)),
            "ports": [{ "name": "http", "containerPort": 8080 }],
            "readinessProbe": readiness(candidate, &json!("http")),
        }] })
    });
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": own.deployment, "namespace": candidate.namespace() },
        "spec": {
            "replicas": 0,
            "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": pods },
        },
    })
}

/// A Service over Pods with these labels, with the ports of another one.
pub(super) fn service(candidate: &Candidate, name: &str, selector: &Labels, like: Option<&Service>) -> Value {
    let like = like.map(ports).unwrap_or_default().iter().map(|port| {
        json!({ "name": port.name, "port": port.port, "targetPort": port.target_port, "protocol": port.protocol })
    });
    let mut ports: Vec<Value> = like.collect();
    if ports.is_empty() {
        ports.push(json!({ "name": "http", "port": 80, "targetPort": "http" }));
    }
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name, "namespace": candidate.namespace() },
        "spec": { "selector": selector, "ports": ports },
    })
}

/// An Ingress over the Service that users reach.
pub(super) fn ingress(candidate: &Candidate, name: &str, seen: &Seen) -> Value {
    let service = &candidate.setup.service;
    let port = seen.service(service).and_then(|one| ports(one).first().map(|port| port.port)).unwrap_or(80);
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": { "name": name, "namespace": candidate.namespace() },
        "spec": { "ingressClassName": "nginx", "rules": [{
            "host": format!("{service}.example.com"),
            "http": { "paths": [{
                "path": "/",
                "pathType": "Prefix",
                "backend": { "service": { "name": service, "port": { "number": port } } },
            }] },
        }] },
    })
}

/// A readiness probe as the operator will probe, too.
pub(super) fn readiness(candidate: &Candidate, port: &Value) -> Value {
    json!({ "httpGet": { "path": candidate.probe_path(), "port": port } })
}

/// The port of the first container of a Deployment, by name if it has one.
pub(super) fn container_port(deployment: &Deployment) -> Option<IntOrString> {
    let port = containers(deployment).iter().flat_map(|one| one.ports.iter().flatten()).next()?;
    Some(port.name.clone().map_or(IntOrString::Int(port.container_port), IntOrString::String))
}

/// The name of an object of a list.
pub(super) fn names<K: ResourceExt>(objects: &[K]) -> String {
    let names: Vec<String> = objects.iter().map(ResourceExt::name_any).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
