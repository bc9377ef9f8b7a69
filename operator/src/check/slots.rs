//! The slots: their Deployments and Services exist, fit together, and stay apart.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use serde_json::{Map, Value, json};

use super::candidate::Candidate;
use super::examples::{self, SlotNames, readiness};
use super::finding::{At, Finding, Fix};
use super::ports;
use super::seen::{Labels, Seen, containers, own_labels, pod_labels, selector, selects};
use crate::resource::EdgeSpec;

/// A slot, and what the namespace has of it.
#[derive(Clone, Copy)]
struct Slot<'a> {
    names: SlotNames<'a>,
    deployment: Option<&'a Deployment>,
    service: Option<&'a Service>,
}

/// Judges the slots. A Rollout of Argo has others.
pub(super) fn check(candidate: &Candidate, seen: &Seen, findings: &mut Vec<Finding>) {
    if matches!(candidate.spec().edge, EdgeSpec::ArgoRollouts(_)) {
        return;
    }
    let (Some(_), Some(_)) = (&seen.services, &seen.deployments) else { return };
    let slots: Vec<Slot<'_>> = candidate
        .spec()
        .slots
        .iter()
        .map(|(slot, its)| Slot {
            names: SlotNames { slot, deployment: &its.deployment, service: &its.service },
            deployment: seen.deployment(&its.deployment),
            service: seen.service(&its.service),
        })
        .collect();
    let [one, other] = slots[..] else { return };
    for (own, other) in [(one, other), (other, one)] {
        check_slot(candidate, seen, (own, other), findings);
    }
    // Weights of an HTTPRoute lead to the slots themselves.
    if !matches!(candidate.spec().edge, EdgeSpec::Gateway(_)) {
        check_apex(candidate, seen, [one, other], findings);
    }
}

fn check_slot(
    candidate: &Candidate,
    seen: &Seen,
    (own, other): (Slot<'_>, Slot<'_>),
    findings: &mut Vec<Finding>,
) {
    let names = own.names;
    let like = other.deployment.map(|deployment| (other.names.slot, deployment));
    let at = |kind, name| At::object(kind, candidate.namespace(), name);
    match own.deployment {
        Some(deployment) => check_deployment(candidate, names, deployment, findings),
        None => {
            let text = format!(
                "it does not exist, and spec.slots.{}.deployment of BlueGreen {} names it: create it, or name one of: {}",
                names.slot,
                candidate.setup.name,
                examples::names(seen.deployments.as_deref().unwrap_or_default()),
            );
            let fix = Fix::apply(&examples::deployment(candidate, names, like));
            findings.push(Finding::problem(at("Deployment", names.deployment), text).fix(fix));
        }
    }
    let labels =
        own.deployment.map_or_else(|| examples::labels(names, like, &candidate.setup.service), own_labels);
    let Some(service) = own.service else {
        let text = format!(
            "it does not exist, and spec.slots.{}.service of BlueGreen {} names it: create it, or name one of: {}",
            names.slot,
            candidate.setup.name,
            examples::names(seen.services.as_deref().unwrap_or_default()),
        );
        let like = other.service.or_else(|| seen.service(&candidate.setup.service));
        let fix = Fix::apply(&examples::service(candidate, names.service, &labels, like));
        findings.push(Finding::problem(at("Service", names.service), text).fix(fix));
        return;
    };
    check_selector(candidate, (own, other), service, findings);
    ports::check(candidate, service, own.deployment, findings);
}

/// The Service of a slot selects the Pods of its Deployment, and no others.
fn check_selector(
    candidate: &Candidate,
    (own, other): (Slot<'_>, Slot<'_>),
    service: &Service,
    findings: &mut Vec<Finding>,
) {
    let (Some(deployment), now) = (own.deployment, selector(service)) else { return };
    let at = At::object("Service", candidate.namespace(), own.names.service).field("spec.selector");
    let wanted = own_labels(deployment);
    let fix = at.patched(&replaced(&now, &wanted));
    if !selects(&now, &pod_labels(deployment)) {
        let text = format!(
            "it does not select the Pods of Deployment {}, whose labels are {}: they would never be in its endpoints",
            own.names.deployment,
            json!(pod_labels(deployment)),
        );
        findings.push(Finding::problem(at, text).value(json!(now)).fix(fix));
        return;
    }
    let Some(theirs) = other.deployment.filter(|theirs| selects(&now, &pod_labels(theirs))) else { return };
    let text = format!(
        "it selects the Pods of Deployment {} of the other slot, too, so both versions would answer as slot {}",
        other.names.deployment, own.names.slot,
    );
    // The Pods themselves may be alike: then only another Deployment helps.
    if selects(&wanted, &pod_labels(theirs)) {
        return replace_deployment(candidate, (own, deployment), (other, theirs), findings);
    }
    findings.push(Finding::problem(at, text).value(json!(now)).fix(fix));
}

/// Two Deployments whose Pods cannot be told apart: the selector of a Deployment cannot be changed.
fn replace_deployment(
    candidate: &Candidate,
    one: (Slot<'_>, &Deployment),
    other: (Slot<'_>, &Deployment),
    findings: &mut Vec<Finding>,
) {
    let size = |deployment: &Deployment| deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let is_first = (size(one.1), other.0.names.slot) <= (size(other.1), one.0.names.slot);
    let ((slot, idle), (kept, like)) = if is_first { (one, other) } else { (other, one) };
    let at = At::object("Deployment", candidate.namespace(), slot.names.deployment);
    let at = at.field("spec.selector.matchLabels");
    if findings.iter().any(|finding| finding.at == at) {
        return;
    }
    let text = format!(
        "its Pods cannot be told from those of Deployment {}: give them a label of their own; a selector cannot be changed, \
         so the one without traffic is deleted and created anew, and its Service selects the new label",
        kept.names.deployment
    );
    let names = slot.names;
    let object = examples::deployment(candidate, names, Some((kept.names.slot, like)));
    let labels = examples::labels(names, Some((kept.names.slot, like)), &candidate.setup.service);
    let like = slot.service.or(kept.service);
    let service = examples::service(candidate, names.service, &labels, like);
    let both = json!({ "apiVersion": "v1", "kind": "List", "items": [object, service] });
    let both = serde_yaml::to_string(&both).unwrap_or_default();
    let command = format!("kubectl replace --force -f - <<'END'\n{both}END");
    findings.push(Finding::problem(at, text).value(json!(own_labels(idle))).fix(Fix::Type(command)));
}

fn check_deployment(
    candidate: &Candidate,
    names: SlotNames<'_>,
    deployment: &Deployment,
    findings: &mut Vec<Finding>,
) {
    let at = At::object("Deployment", candidate.namespace(), names.deployment);
    let all = containers(deployment);
    let known: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
    let migrations = candidate.setup.migrations.as_ref();
    let migrate = migrations.and_then(|its| its.migrate.container.as_ref());
    let revert = migrations.and_then(|its| its.revert.as_ref()?.container.as_ref());
    let hooks = candidate.setup.hooks.as_ref();
    let switched = hooks.and_then(|its| its.switched.as_ref()?.container.as_ref());
    let diagnose = hooks.and_then(|its| its.diagnose.as_ref()?.container.as_ref());
    for (key, named) in [
        ("spec.template.container", candidate.setup.template.as_ref().and_then(|its| its.container.as_ref())),
        ("spec.migrations.migrate.container", migrate),
        ("spec.migrations.revert.container", revert),
        ("spec.hooks.switched.container", switched),
        ("spec.hooks.diagnose.container", diagnose),
    ] {
        let Some(named) = named.filter(|named| !known.contains(&named.as_str())) else { continue };
        let text =
            format!("Deployment {} has no such container; it has: {}", names.deployment, known.join(", "));
        let finding = Finding::problem(candidate.at(key), text).value(named.as_str());
        let path = key.trim_start_matches("spec.").split('.').rev();
        let first = json!(known.first());
        findings.push(finding.fix(candidate.change(&path.fold(first, |inner, name| json!({ name: inner })))));
    }
    let has_probe = all.iter().any(|one| one.readiness_probe.is_some());
    let first = all.iter().find(|one| one.ports.iter().flatten().next().is_some()).or_else(|| all.first());
    let Some(first) = first.filter(|_| !has_probe) else { return };
    let port = examples::container_port(deployment).map_or(json!(8080), |port| json!(port));
    let container = json!({ "name": first.name, "readinessProbe": readiness(candidate, &port) });
    let patch = json!({ "spec": { "template": { "spec": { "containers": [container] } } } });
    let text = format!(
        "no container has a readinessProbe, so a Pod counts as ready and gets requests as soon as its process runs: add one; Pods \
         that run are replaced one by one, so container {} must answer it",
        first.name
    );
    let field = "spec.template.spec.containers";
    let fix = at.patched_in_lists(&patch);
    findings.push(Finding::warning(at.field(field), text).fix(fix));
}

/// The Service that users reach has the selector of a slot.
fn check_apex(candidate: &Candidate, seen: &Seen, slots: [Slot<'_>; 2], findings: &mut Vec<Finding>) {
    let name = &candidate.setup.service;
    let at = At::object("Service", candidate.namespace(), name);
    let selectors = slots.map(|slot| slot.service.map(selector).filter(|its| !its.is_empty()));
    let live = slots.iter().position(|slot| {
        let size = slot.deployment.and_then(|one| one.spec.as_ref()?.replicas);
        size.is_some_and(|size| size > 0)
    });
    let first = selectors.get(live.unwrap_or_default()).cloned().flatten();
    let Some(service) = seen.service(name) else {
        let text = format!(
            "it does not exist, and spec.service of BlueGreen {} names it: create it",
            candidate.setup.name
        );
        let like = slots.iter().find_map(|slot| slot.service);
        let fix = first.map(|first| Fix::apply(&examples::service(candidate, name, &first, like)));
        findings.push(Finding { fix, ..Finding::problem(at, text) });
        return;
    };
    let now = selector(service);
    if selectors.iter().flatten().any(|one| *one == now) {
        return;
    }
    let serving = slots
        .iter()
        .zip(&selectors)
        .find(|(slot, _)| slot.deployment.is_some_and(|one| selects(&now, &pod_labels(one))));
    let wanted = serving.and_then(|(_, selector)| selector.clone()).or(first);
    let at = at.field("spec.selector");
    let text = "it is that of no slot's Service, so nobody knows which slot has the traffic: give it the selector of the slot that \
                users are to reach";
    let fix = wanted.map(|wanted| at.patched(&replaced(&now, &wanted)));
    findings.push(Finding { fix, ..Finding::problem(at, text).value(json!(now)) });
}

/// The patch that makes one selector of another one.
fn replaced(now: &Labels, wanted: &Labels) -> Value {
    let gone = now.keys().filter(|key| !wanted.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let all: Map<String, Value> =
        wanted.iter().map(|(key, value)| (key.clone(), json!(value))).chain(gone).collect();
    json!({ "spec": { "selector": all } })
}

/// An autoscaler for one slot only: at the next version the slots change their roles.
pub(super) fn check_scalers(candidate: &Candidate, seen: &Seen, findings: &mut Vec<Finding>) {
    let of = |deployment: &str| {
        let is_its = |target: &k8s_openapi::api::autoscaling::v2::CrossVersionObjectReference| {
            target.kind == "Deployment" && target.name == deployment
        };
        let scalers = seen.scalers.iter().flatten();
        let mut its =
            scalers.filter(|one| one.spec.as_ref().is_some_and(|spec| is_its(&spec.scale_target_ref)));
        its.next()
    };
    let slots: Vec<&str> = candidate.spec().slots.values().map(|slot| slot.deployment.as_str()).collect();
    let [one, other] = slots[..] else { return };
    for (with, without) in [(one, other), (other, one)] {
        let (Some(scaler), None) = (of(with), of(without)) else { continue };
        let mut copy = json!({
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": { "name": without, "namespace": candidate.namespace() },
            "spec": scaler.spec,
        });
        if let Some(name) = copy.pointer_mut("/spec/scaleTargetRef/name") {
            *name = json!(without);
        }
        let text = format!(
            "it has no HorizontalPodAutoscaler, and Deployment {with} has {}: at the next version the slots change their \
             roles, and \
             nothing would scale the one with the traffic",
            scaler.name_any()
        );
        let at = At::object("Deployment", candidate.namespace(), without);
        findings.push(Finding::warning(at, text).fix(Fix::apply(&copy)));
    }
}
