//! The HTTPRoute whose weights carry the route.

use serde_json::{Value, json};

use super::super::candidate::Candidate;
use super::super::finding::{At, Finding, Fix};
use super::super::source::Source;
use crate::edge::Names;
use crate::edge::gateway::{acceptance, api, judge};

mod parents;

/// Judges the HTTPRoute, and what it hangs on.
pub(super) async fn check(source: &Source, candidate: &Candidate, name: &str, findings: &mut Vec<Finding>) {
    let (client, namespace) = (source.client(), candidate.namespace());
    let at = At::object("HTTPRoute", namespace, name);
    let route = match source.get(&api(client, namespace, "HTTPRoute"), &at).await {
        Ok(Some(route)) => route,
        Ok(None) => {
            let text = format!(
                "it does not exist, or the Gateway API is not installed, and spec.edge.gateway.route of BlueGreen {} names it",
                candidate.setup.name
            );
            return findings.push(Finding::problem(at, text).fix(Fix::apply(&example(candidate, name))));
        }
        Err(unread) => return findings.push(*unread),
    };
    judged(candidate, &at, &route, findings);
    parents::check(source, &at, &route, findings).await;
}

fn judged(candidate: &Candidate, at: &At, route: &Value, findings: &mut Vec<Finding>) {
    let names = candidate.names();
    if let Err(why) = judge(route, &names) {
        let fix = at.patched(&json!({ "spec": { "rules": completed(route, &names) } }));
        findings.push(Finding::problem(at.clone().field("spec.rules"), why).fix(fix));
        return;
    }
    let slots: Vec<&str> = names.slots.iter().map(|(_, service)| service.as_str()).collect();
    for (number, rule) in list(route, "/spec/rules").iter().enumerate() {
        let named: Vec<&str> =
            list(rule, "/backendRefs").iter().filter_map(|one| one.get("name")?.as_str()).collect();
        let others: Vec<&str> = named.iter().filter(|name| !slots.contains(name)).copied().collect();
        if others.is_empty() || others.len() == named.len() {
            continue;
        }
        let mut rules = list(route, "/spec/rules").to_vec();
        if let Some(refs) = rules.get_mut(number).and_then(|rule| rule.get_mut("backendRefs")?.as_array_mut())
        {
            refs.retain(|one| {
                one.get("name").and_then(Value::as_str).is_some_and(|name| slots.contains(&name))
            });
        }
        let text = format!(
            "beside the slots it names {}, which keeps its weight whatever the operator does: users of all shares get it, too",
            others.join(", ")
        );
        let fix = at.patched(&json!({ "spec": { "rules": rules } }));
        let field = at.clone().field(format!("spec.rules[{number}].backendRefs"));
        findings.push(Finding::warning(field, text).value(others.join(", ")).fix(fix));
    }
    // One that is not applied yet has no status.
    let Some(generation) = route.pointer("/metadata/generation").and_then(Value::as_i64) else { return };
    if let Err(why) = acceptance(route, generation) {
        let text = format!("{why}; the operator changes only a route that is accepted");
        let look = format!("kubectl -n {} describe httproute {}", at.namespace, at.name);
        findings.push(Finding::problem(at.clone().field("status.parents"), text).fix(Fix::Type(look)));
    }
}

/// The rules with both slots in each rule that names one of them or the Service that users reach, or in the first.
fn completed(route: &Value, names: &Names) -> Vec<Value> {
    let mut rules = list(route, "/spec/rules").to_vec();
    let is_ours = |reference: &Value| {
        let name = reference.get("name").and_then(Value::as_str);
        name.is_some_and(|name| {
            name == names.service || names.slots.iter().any(|(_, service)| service == name)
        })
    };
    let mut weights: Option<Vec<u64>> = None;
    let has_any = rules.iter().any(|rule| list(rule, "/backendRefs").iter().any(is_ours));
    for (number, rule) in rules.iter_mut().enumerate() {
        let before = list(rule, "/backendRefs").to_vec();
        if !before.iter().any(is_ours) && (has_any || number > 0) {
            continue;
        }
        let weights = weights.get_or_insert_with(|| weights_of(&before, names));
        let port = before.iter().find_map(|one| one.get("port")).cloned().unwrap_or(json!(80));
        let slots = names.slots.iter().zip(weights.iter());
        let both =
            slots.map(|((_, service), weight)| json!({ "name": service, "port": port, "weight": weight }));
        let others = before.iter().filter(|one| !is_ours(one) && has_any).cloned();
        let all: Vec<Value> = both.chain(others).collect();
        if let Some(rule) = rule.as_object_mut() {
            rule.insert("backendRefs".to_owned(), Value::Array(all));
        }
    }
    rules
}

/// The weights of the slots. If they say nothing, the first slot has all.
fn weights_of(references: &[Value], names: &Names) -> Vec<u64> {
    let weight = |service: &String| {
        let its = references.iter().find(|one| one.get("name").and_then(Value::as_str) == Some(service));
        its.map_or(0, |its| its.get("weight").and_then(Value::as_u64).unwrap_or(1))
    };
    let weights: Vec<u64> = names.slots.iter().map(|(_, service)| weight(service)).collect();
    match weights.iter().sum() {
        0 => weights.iter().enumerate().map(|(at, _)| if at == 0 { 100 } else { 0 }).collect(),
        _ => weights,
    }
}

fn example(candidate: &Candidate, name: &str) -> Value {
    let names = candidate.names();
    let route = json!({ "spec": { "rules": [{}] } });
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": { "name": name, "namespace": candidate.namespace() },
        "spec": {
            "parentRefs": [{ "name": "web" }],
            "hostnames": [format!("{}.example.com", names.service)],
            "rules": completed(&route, &names),
        },
    })
}

fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}
