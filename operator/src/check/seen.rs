//! What a namespace has, as far as it may be read.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Container, Service, ServicePort};
use k8s_openapi::api::networking::v1::Ingress;
use kube::ResourceExt;

use super::finding::Finding;
use super::source::Source;

/// What a namespace has. `None`: it may not be read, which was said.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// The Services.
    pub(super) services: Option<Vec<Service>>,
    /// The Deployments.
    pub(super) deployments: Option<Vec<Deployment>>,
    /// The autoscalers.
    pub(super) scalers: Option<Vec<HorizontalPodAutoscaler>>,
    /// The Ingresses.
    pub(super) ingresses: Option<Vec<Ingress>>,
}

/// Labels, or the labels that a selector wants.
pub(super) type Labels = BTreeMap<String, String>;

impl Seen {
    /// Reads a namespace.
    pub(super) async fn read(source: &Source, namespace: &str, findings: &mut Vec<Finding>) -> Self {
        let mut said = |finding: Box<Finding>| findings.push(*finding);
        Self {
            services: source.list(namespace).await.map_err(&mut said).ok(),
            deployments: source.list(namespace).await.map_err(&mut said).ok(),
            scalers: source.list(namespace).await.map_err(&mut said).ok(),
            ingresses: source.list(namespace).await.map_err(&mut said).ok(),
        }
    }

    /// The Service with this name.
    pub(super) fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().flatten().find(|one| one.name_any() == name)
    }

    /// The Deployment with this name.
    pub(super) fn deployment(&self, name: &str) -> Option<&Deployment> {
        self.deployments.iter().flatten().find(|one| one.name_any() == name)
    }
}

/// The labels that a Service selects by.
pub(super) fn selector(service: &Service) -> Labels {
    service.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default()
}

/// The ports of a Service.
pub(super) fn ports(service: &Service) -> &[ServicePort] {
    service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default()
}

/// The labels of the Pods of a Deployment.
pub(super) fn pod_labels(deployment: &Deployment) -> Labels {
    let template = deployment.spec.as_ref().map(|spec| &spec.template);
    template.and_then(|template| template.metadata.as_ref()?.labels.clone()).unwrap_or_default()
}

/// The labels by which a Deployment knows its Pods.
pub(super) fn own_labels(deployment: &Deployment) -> Labels {
    let selector = deployment.spec.as_ref().map(|spec| &spec.selector);
    selector.and_then(|selector| selector.match_labels.clone()).unwrap_or_default()
}

/// The containers of a Deployment.
pub(super) fn containers(deployment: &Deployment) -> &[Container] {
    let template = deployment.spec.as_ref().map(|spec| &spec.template);
    template
        .and_then(|template| template.spec.as_ref())
        .map(|spec| spec.containers.as_slice())
        .unwrap_or_default()
}

/// Whether a selector selects Pods with these labels. An empty one selects none.
pub(super) fn selects(selector: &Labels, labels: &Labels) -> bool {
    !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}
