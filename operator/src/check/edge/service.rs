//! The Service whose selector carries the route.

use kube::ResourceExt;
use serde_json::json;

use super::super::candidate::Candidate;
use super::super::finding::{At, Finding};
use super::super::seen::{Seen, selector};
use crate::edge::{MANAGER, ROUTE};

/// Judges the Service that users reach.
pub(super) fn check(candidate: &Candidate, seen: &Seen, findings: &mut Vec<Finding>) {
    let name = &candidate.setup.service;
    let Some(service) = seen.service(name) else { return };
    let at = At::object("Service", candidate.namespace(), name);
    let affinity = service.spec.as_ref().and_then(|spec| spec.session_affinity.as_deref());
    if affinity == Some("ClientIP") {
        let text = "a client keeps its Pod only until the traffic moves: each switch takes it from all clients at once, so \
         nothing may \
                    depend on it; keep sessions outside of the Pods";
        let fix = at.patched(&json!({ "spec": { "sessionAffinity": "None" } }));
        let field = at.field("spec.sessionAffinity");
        findings.push(Finding::warning(field, text).value("ClientIP").fix(fix));
    }
    let at = At::object("Service", candidate.namespace(), name).field("spec.selector");
    let writers = service.managed_fields().iter().filter(|entry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        fields.and_then(|fields| fields.pointer("/f:spec/f:selector")).is_some()
    });
    let others: Vec<&str> =
        writers.filter_map(|entry| entry.manager.as_deref()).filter(|manager| *manager != MANAGER).collect();
    let Some(stamped) = service.annotations().get(ROUTE) else { return };
    let stamped: serde_json::Value = serde_json::from_str(stamped).unwrap_or_default();
    let route = stamped.get("route").and_then(serde_json::Value::as_str).unwrap_or_default();
    let active = route.split(',').next().unwrap_or_default();
    let Some(slot) = candidate.setup.slots.get(active) else { return };
    let Some(wanted) = seen.service(&slot.service).map(selector) else { return };
    let now = selector(service);
    if now == wanted {
        return;
    }
    let text = format!(
        "the operator has given the traffic to slot {active}, and somebody else has changed the selector since: {}; let a \
         GitOps tool \
         ignore it (docs/kubernetes/services.md), and set it to the slot that users are to reach",
        if others.is_empty() { "nobody says who".to_owned() } else { others.join(", ") },
    );
    let fix = at.patched(&json!({ "spec": { "selector": wanted } }));
    findings.push(Finding::warning(at, text).value(json!(now)).fix(fix));
}
