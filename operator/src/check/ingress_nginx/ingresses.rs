//! The Ingresses that lead to the Services: users' and those of the slots, from which ingress-nginx knows its backends.

use k8s_openapi::api::networking::v1::{Ingress, IngressBackend};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::super::candidate::Candidate;
use super::super::examples;
use super::super::finding::{At, Finding, Fix};
use super::super::seen::{Seen, ports};
use super::config::Group;
use crate::edge::ingress_canary::{CANARY, canary_of_somebody_else};

/// The beginning of its annotations.
pub(super) const PREFIX: &str = "nginx.ingress.kubernetes.io";

/// Judges the Ingresses. Returns the group that they make. `None`: one of its backends is missing.
pub(super) fn check(
    candidate: &Candidate,
    group: &str,
    seen: &Seen,
    findings: &mut Vec<Finding>,
) -> Option<Group> {
    let all = seen.ingresses.as_ref()?;
    let plain: Vec<&Ingress> = all.iter().filter(|one| !one.annotations().contains_key(CANARY)).collect();
    let of = |service: &str| {
        plain.iter().filter(|one| !leads(one, candidate, service).is_empty()).copied().collect::<Vec<_>>()
    };
    let service = &candidate.setup.service;
    let users = of(service);
    let names =
        |service: &str| of(service).iter().flat_map(|one| leads(one, candidate, service)).collect::<Vec<_>>();
    let mut backends = names(service);
    backends.sort();
    backends.dedup();
    if users.is_empty() {
        let text = "no Ingress leads to it, so ingress-nginx has no request to send to a slot: create one";
        let fix = Fix::apply(&examples::ingress(candidate, service, seen));
        findings.push(Finding::problem(At::object("Service", candidate.namespace(), service), text).fix(fix));
    }
    let mut slots = Vec::new();
    for (slot, its) in &candidate.setup.slots {
        match names(&its.service).first() {
            Some(name) => slots.push((slot.clone(), name.clone())),
            None => {
                let text = "no Ingress names it, and ingress-nginx knows only Services that one names: create one with a host that \
                            nobody outside reaches";
                let fix = Fix::apply(&of_slot(candidate, slot, seen, users.first().copied()));
                findings.push(
                    Finding::problem(At::object("Service", candidate.namespace(), &its.service), text)
                        .fix(fix),
                );
            }
        }
        for one in of(&its.service) {
            let what = "the controller would send requests to the Service in place of its Pods, and agents would wait for \
             Pods in vain";
            let is_on = |value: &str| value == "true";
            findings.extend(
                annotated(candidate, one, "service-upstream", is_on, what)
                    .map(|found| Finding { severity: super::super::finding::Severity::Problem, ..found }),
            );
        }
    }
    for one in &users {
        for key in ["affinity", "upstream-hash-by"] {
            let what = "it chooses among the Pods of the Service that users reach, and the module chooses the slot after it: \
             put it \
                        on the Ingress of the slots";
            findings.extend(annotated(candidate, one, key, |_| true, what));
        }
        let what = "it sets the variable by which the module routes, so requests would not follow the route";
        let fights = |value: &str| value.contains("$proxy_upstream_name");
        findings.extend(annotated(candidate, one, "configuration-snippet", fights, what));
        let name = one.name_any();
        let others: Vec<Ingress> = all.iter().filter(|other| other.name_any() != name).cloned().collect();
        if let Some(other) = canary_of_somebody_else(one, &others) {
            let at = At::object("Ingress", candidate.namespace(), &other);
            let text = format!(
                "it is a canary for a host of Ingress {name}: it would take requests from both slots"
            );
            let fix = at.deleted();
            findings.push(Finding::problem(at, text).fix(fix));
        }
    }
    let is_whole = !backends.is_empty() && slots.len() == candidate.setup.slots.len();
    is_whole.then(|| Group { name: group.to_owned(), backends, slots })
}

/// The Ingresses that lead to the Services of a BlueGreen.
pub(super) fn of_group<'a>(candidate: &'a Candidate, seen: &'a Seen) -> impl Iterator<Item = &'a Ingress> {
    let services = || {
        let slots = candidate.setup.slots.values().map(|slot| &slot.service);
        std::iter::once(&candidate.setup.service).chain(slots)
    };
    let all = seen.ingresses.iter().flatten();
    all.filter(move |one| services().any(|service| !leads(one, candidate, service).is_empty()))
}

/// An annotation that is in the way.
fn annotated(
    candidate: &Candidate,
    ingress: &Ingress,
    key: &str,
    is_in_the_way: impl Fn(&str) -> bool,
    what: &str,
) -> Option<Finding> {
    let key = format!("{PREFIX}/{key}");
    let value = ingress.annotations().get(&key).filter(|value| is_in_the_way(value))?;
    let at = At::object("Ingress", candidate.namespace(), &ingress.name_any());
    let fix = at.without_annotation(&key);
    Some(
        Finding::warning(at.field(format!("metadata.annotations.{key}")), what)
            .value(value.as_str())
            .fix(fix),
    )
}

/// The names of the backends that ingress-nginx makes of an Ingress for a Service, as in `shop-shop-http`.
fn leads(ingress: &Ingress, candidate: &Candidate, service: &str) -> Vec<String> {
    let spec = ingress.spec.as_ref();
    let paths =
        spec.iter().flat_map(|spec| spec.rules.iter().flatten()).filter_map(|rule| rule.http.as_ref());
    let backends = paths.flat_map(|http| http.paths.iter().map(|path| &path.backend));
    let all = spec.and_then(|spec| spec.default_backend.as_ref()).into_iter().chain(backends);
    let name = |backend: &IngressBackend| {
        let its = backend.service.as_ref().filter(|its| its.name == service)?;
        let port = its.port.as_ref()?;
        let port = port.name.clone().or_else(|| port.number.map(|number| number.to_string()))?;
        Some(format!("{}-{service}-{port}", candidate.namespace()))
    };
    all.filter_map(name).collect()
}

/// An Ingress for the Service of a slot, with the class of the users' one.
fn of_slot(candidate: &Candidate, slot: &str, seen: &Seen, users: Option<&Ingress>) -> Value {
    let service = candidate.setup.slots.get(slot).map(|slot| slot.service.as_str()).unwrap_or_default();
    let class = users.and_then(|users| users.spec.as_ref()?.ingress_class_name.clone());
    let first = seen.service(service).and_then(|one| ports(one).first());
    let port = match first {
        Some(port) => {
            port.name.as_ref().map_or(json!({ "number": port.port }), |name| json!({ "name": name }))
        }
        None => json!({ "name": "http" }),
    };
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": { "name": service, "namespace": candidate.namespace() },
        "spec": { "ingressClassName": class.unwrap_or_else(|| "nginx".to_owned()), "rules": [{
            "host": format!("{slot}.{}.internal", candidate.setup.service),
            "http": { "paths": [
                { "path": "/", "pathType": "Prefix", "backend": { "service": { "name": service, "port": port } } },
            ] },
        }] },
    })
}
