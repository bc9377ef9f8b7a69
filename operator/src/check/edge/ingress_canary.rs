//! The users' Ingress, beside which the operator makes a canary.

use k8s_openapi::api::networking::v1::Ingress;
use kube::ResourceExt;
use serde_json::json;

use super::super::candidate::Candidate;
use super::super::examples;
use super::super::finding::{At, Finding, Fix};
use super::super::seen::Seen;
use crate::edge::ingress_canary::{canary_of_somebody_else, made};

/// The annotation by which a client keeps its Pod.
const AFFINITY: &str = "nginx.ingress.kubernetes.io/affinity";

/// Judges the users' Ingress.
pub(super) fn check(candidate: &Candidate, name: &str, seen: &Seen, findings: &mut Vec<Finding>) {
    let Some(all) = &seen.ingresses else { return };
    let (names, field) = (candidate.names(), "spec.edge.ingressCanary.ingress");
    let Some(slot) = candidate.setup.slots.keys().next() else { return };
    let leads = |one: &&Ingress| made(one, &names, slot).is_ok();
    let better = all.iter().filter(leads).find(|one| canary_free(one));
    let instead = better.map(|better| {
        candidate.change(&json!({ "edge": { "ingressCanary": { "ingress": better.name_any() } } }))
    });
    let Some(users) = all.iter().find(|one| one.name_any() == name) else {
        let text = format!(
            "namespace {} has no such Ingress: name the one that users reach; it has: {}",
            candidate.namespace(),
            examples::names(all)
        );
        let fix = instead.unwrap_or_else(|| Fix::apply(&examples::ingress(candidate, name, seen)));
        return findings.push(Finding::problem(candidate.at(field), text).value(name).fix(fix));
    };
    if let Err(why) = made(users, &names, slot) {
        let fix = instead.or_else(|| Some(Fix::apply(&examples::ingress(candidate, name, seen))));
        let at = At::object("Ingress", candidate.namespace(), name).field("spec.rules");
        return findings.push(Finding { fix, ..Finding::problem(at, why) });
    }
    let others: Vec<Ingress> = all.iter().filter(|one| one.name_any() != name).cloned().collect();
    if let Some(other) = canary_of_somebody_else(users, &others) {
        let at = At::object("Ingress", candidate.namespace(), &other);
        let text = format!(
            "it is a canary of somebody else for a host of Ingress {name}, and ingress-nginx obeys only one: delete it"
        );
        let fix = at.deleted();
        findings.push(Finding::problem(at, text).fix(fix));
    }
    if let Some(value) = users.annotations().get(AFFINITY) {
        let at = At::object("Ingress", candidate.namespace(), name);
        let fix = at.without_annotation(AFFINITY);
        let text = "a client with a cookie of the canary stays on the new version after a rollback: remove it while you \
         deploy in steps";
        let at = at.field(format!("metadata.annotations.{AFFINITY}"));
        findings.push(Finding::warning(at, text).value(value.as_str()).fix(fix));
    }
}

/// Whether an Ingress is no canary itself.
fn canary_free(ingress: &Ingress) -> bool {
    !ingress.annotations().contains_key(crate::edge::ingress_canary::CANARY)
}
