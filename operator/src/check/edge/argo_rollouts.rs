//! The Rollout that the operator promotes.

use serde_json::{Value, json};

use super::super::candidate::Candidate;
use super::super::examples;
use super::super::finding::{At, Finding, Fix};
use super::super::seen::Labels;
use super::super::source::Source;
use crate::edge::argo_rollouts::{api, unsuitable};

/// Judges the Rollout and its Services.
pub(super) async fn check(source: &Source, candidate: &Candidate, name: &str, findings: &mut Vec<Finding>) {
    let (namespace, service) = (candidate.namespace(), &candidate.setup.service);
    let at = At::object("Rollout", namespace, name);
    let rollout = match source.get(&api(source.client(), namespace), &at).await {
        Ok(Some(rollout)) => rollout,
        Ok(None) => {
            let text = format!(
                "it does not exist, or Argo Rollouts is not installed, and spec.edge.argoRollouts.rollout of BlueGreen {} names it",
                candidate.setup.name
            );
            return findings.push(Finding::problem(at, text).fix(Fix::apply(&example(candidate, name))));
        }
        Err(unread) => return findings.push(*unread),
    };
    for wrong in unsuitable(&rollout, service) {
        let field = wrong.field();
        let right =
            wrong.right(service).map(|strategy| at.patched(&json!({ "spec": { "strategy": strategy } })));
        let mut finding = Finding::problem(at.clone().field(field), format!("it {wrong}"));
        finding.value = rollout.pointer(&format!("/{}", field.replace('.', "/"))).cloned();
        let template = || Fix::Type(format!("kubectl -n {namespace} edit rollout {name}"));
        findings.push(finding.fix(right.unwrap_or_else(template)));
    }
    let labels = rollout.pointer("/spec/selector/matchLabels").cloned().unwrap_or_default();
    let labels: Labels = serde_json::from_value(labels).unwrap_or_default();
    for key in ["activeService", "previewService"] {
        let named = rollout.pointer(&format!("/spec/strategy/blueGreen/{key}")).and_then(Value::as_str);
        let services =
            source.list::<k8s_openapi::api::core::v1::Service>(namespace).await.unwrap_or_default();
        let Some(named) =
            named.filter(|named| !services.iter().any(|one| kube::ResourceExt::name_any(one) == *named))
        else {
            continue;
        };
        let text = format!(
            "it does not exist, and spec.strategy.blueGreen.{key} of Rollout {name} names it: create it"
        );
        let like = services.iter().find(|one| kube::ResourceExt::name_any(*one) == *service);
        let object = examples::service(candidate, named, &labels, like);
        findings
            .push(Finding::problem(At::object("Service", namespace, named), text).fix(Fix::apply(&object)));
    }
}

fn example(candidate: &Candidate, name: &str) -> Value {
    let service = &candidate.setup.service;
    let labels = json!({ "app": service });
    let image = candidate.setup.template.as_ref().and_then(|template| template.image.clone());
    json!({
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": { "name": name, "namespace": candidate.namespace() },
        "spec": {
            "selector": { "matchLabels": labels },
            "strategy": { "blueGreen": {
                "activeService": service,
                "previewService": format!("{service}-preview"),
                "autoPromotionEnabled": false,
                "scaleDownDelaySeconds": 7200,
            } },
            "template": { "metadata": { "labels": labels }, "spec": { "containers": [{
                "name": service,
                "image": image.unwrap_or_else(|| format!("{service}:{}", candidate.setup.version)),
                "ports": [{ "name": "http", "containerPort": 8080 }],
                "readinessProbe": examples::readiness(candidate, &json!("http")),
            }] } },
        },
    })
}
