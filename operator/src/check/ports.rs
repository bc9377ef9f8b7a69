//! The ports of a slot's Service: which one gets the requests, and whether the Pods have it.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use serde_json::json;

use super::candidate::Candidate;
use super::examples::container_port;
use super::finding::{At, Finding};
use super::seen::{containers, ports};

/// Judges the ports of a slot's Service.
pub(super) fn check(
    candidate: &Candidate,
    service: &Service,
    deployment: Option<&Deployment>,
    findings: &mut Vec<Finding>,
) {
    let all = ports(service);
    let named = |port: &ServicePort| match (&port.name, target(port)) {
        (Some(name), _) => name.clone(),
        (None, IntOrString::String(name)) => name,
        (None, IntOrString::Int(number)) => number.to_string(),
    };
    let known: Vec<String> = all.iter().map(named).collect();
    let first = json!({ "port": known.first() });
    match &candidate.setup.port {
        None if all.len() > 1 => {
            let text = format!(
                "Service {} has {} ports, so say which one gets the requests: {}",
                service.name_any(),
                all.len(),
                known.join(", ")
            );
            findings.push(Finding::problem(candidate.at("spec.port"), text).fix(candidate.change(&first)));
        }
        Some(wanted) if !all.iter().any(|port| fits(port, wanted, deployment)) => {
            let text = format!(
                "Service {} has no such port, by its name or by the number of the container's port; it has: {}",
                service.name_any(),
                known.join(", ")
            );
            let finding = Finding::problem(candidate.at("spec.port"), text).value(wanted.as_str());
            findings.push(finding.fix(candidate.change(&first)));
        }
        _ => {}
    }
    let Some(deployment) = deployment else { return };
    for port in all {
        let IntOrString::String(wanted) = target(port) else { continue };
        if number_of(deployment, &wanted).is_some() {
            continue;
        }
        let at = At::object("Service", candidate.namespace(), &service.name_any());
        let text = format!(
            "no container of Deployment {} has a port of this name, so the Service has no endpoints",
            deployment.name_any()
        );
        let right = container_port(deployment);
        let port =
            json!({ "port": port.port, "targetPort": right.clone().unwrap_or(IntOrString::Int(8080)) });
        let fix = at.patched_in_lists(&json!({ "spec": { "ports": [port] } }));
        findings.push(Finding::problem(at.field("spec.ports.targetPort"), text).value(wanted).fix(fix));
    }
}

/// The port of the Pods.
fn target(port: &ServicePort) -> IntOrString {
    port.target_port.clone().unwrap_or(IntOrString::Int(port.port))
}

/// Whether a port is the wanted one: endpoints have the name, and the number that the Pods listen on.
fn fits(port: &ServicePort, wanted: &str, deployment: Option<&Deployment>) -> bool {
    let number = match target(port) {
        IntOrString::Int(number) => Some(number),
        IntOrString::String(name) => deployment.and_then(|deployment| number_of(deployment, &name)),
    };
    port.name.as_deref() == Some(wanted) || number.is_some_and(|number| number.to_string() == wanted)
}

fn number_of(deployment: &Deployment, name: &str) -> Option<i32> {
    let mut all = containers(deployment).iter().flat_map(|container| container.ports.iter().flatten());
    all.find(|port| port.name.as_deref() == Some(name)).map(|port| port.container_port)
}
