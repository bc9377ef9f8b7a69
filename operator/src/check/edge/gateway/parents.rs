//! The Gateways that an HTTPRoute hangs on, and their classes.

use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::list;
use crate::check::finding::{At, Finding, Fix};
use crate::check::source::Source;
use crate::edge::gateway::api;

/// Judges the parents of a route that are Gateways.
pub(super) async fn check(source: &Source, route_at: &At, route: &Value, findings: &mut Vec<Finding>) {
    for (number, parent) in list(route, "/spec/parentRefs").iter().enumerate() {
        if parent.get("kind").and_then(Value::as_str).is_some_and(|kind| kind != "Gateway") {
            continue;
        }
        let text = |key| parent.get(key).and_then(Value::as_str);
        let namespace = text("namespace").unwrap_or(&route_at.namespace);
        let gateway = At::object("Gateway", namespace, text("name").unwrap_or_default());
        match source.get(&api(source.client(), namespace, "Gateway"), &gateway).await {
            Ok(Some(found)) => check_class(source, gateway, &found, findings).await,
            Ok(None) => findings.push(missing(source, gateway, (route_at, route, number)).await),
            Err(unread) => findings.push(*unread),
        }
    }
}

/// The Gateway does not exist: the route is to name one that does, or it is to be made.
async fn missing(source: &Source, gateway: At, (at, route, number): (&At, &Value, usize)) -> Finding {
    let says = format!("it does not exist, and spec.parentRefs[{number}] of HTTPRoute {} names it", at.name);
    let mut parents = list(route, "/spec/parentRefs").to_vec();
    let is_named = |one: &DynamicObject| {
        let namespace = one.namespace().unwrap_or_default();
        parents.iter().any(|parent| {
            let text = |key| parent.get(key).and_then(Value::as_str);
            text("name") == Some(&*one.name_any()) && text("namespace").unwrap_or(&at.namespace) == namespace
        })
    };
    let mut others = all(&of_cluster(source, "Gateway")).await.unwrap_or_default();
    others.retain(|one| !is_named(one));
    let in_namespace = |one: &&DynamicObject| one.namespace().as_deref() == Some(&at.namespace);
    if let Some(other) = others.iter().find(in_namespace).or(others.first()) {
        if let Some(parent) = parents.get_mut(number) {
            *parent = json!({ "name": other.name_any(), "namespace": other.namespace() });
        }
        let named =
            |one: &DynamicObject| format!("{}/{}", one.namespace().unwrap_or_default(), one.name_any());
        let names = others.iter().map(named).collect::<Vec<_>>().join(", ");
        let fix = at.patched(&json!({ "spec": { "parentRefs": parents } }));
        return Finding::problem(gateway, format!("{says}: name one that is there: {names}")).fix(fix);
    }
    match all(&of_cluster(source, "GatewayClass")).await {
        None => Finding::problem(gateway, format!("{says}: create it, or name another one")).fix(look()),
        Some(classes) => match classes.first() {
            None => Finding::problem(gateway, format!("{says}: {NO_CLASS}")).fix(look()),
            Some(class) => {
                let object = json!({
                    "apiVersion": "gateway.networking.k8s.io/v1",
                    "kind": "Gateway",
                    "metadata": { "name": gateway.name, "namespace": gateway.namespace },
                    "spec": {
                        "gatewayClassName": class.name_any(),
                        "listeners": [{ "name": "http", "port": 80, "protocol": "HTTP" }],
                    },
                });
                Finding::problem(gateway, says).fix(Fix::apply(&object))
            }
        },
    }
}

const NO_CLASS: &str = "there is no GatewayClass either: install an implementation of the Gateway API first";

fn look() -> Fix {
    Fix::Type("kubectl get gatewayclasses".to_owned())
}

/// The class of a Gateway exists and is somebody's.
async fn check_class(source: &Source, gateway: At, found: &Value, findings: &mut Vec<Finding>) {
    let name = found.pointer("/spec/gatewayClassName").and_then(Value::as_str).unwrap_or_default();
    let classes = of_cluster(source, "GatewayClass");
    match source.get(&classes, &At::object("GatewayClass", "", name)).await {
        Ok(Some(_)) => {}
        Ok(None) => {
            let text = "there is no such GatewayClass, so no controller serves the Gateway";
            let classes = all(&classes).await;
            let (text, fix) = match classes.as_ref().map(|classes| classes.first()) {
                Some(Some(other)) => {
                    let other = other.name_any();
                    let fix = gateway.patched(&json!({ "spec": { "gatewayClassName": other } }));
                    (format!("{text}: name one that is installed"), fix)
                }
                Some(None) => (format!("{text}; {NO_CLASS}"), look()),
                None => (format!("{text}: name one that is installed"), look()),
            };
            findings
                .push(Finding::problem(gateway.field("spec.gatewayClassName"), text).value(name).fix(fix));
        }
        Err(unread) => findings.push(*unread),
    }
}

/// All objects of a kind of the Gateway API, in all namespaces.
fn of_cluster(source: &Source, kind: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", kind);
    Api::all_with(source.client().clone(), &ApiResource::from_gvk(&kind))
}

/// What there is to name. `None`: it cannot be read.
async fn all(api: &Api<DynamicObject>) -> Option<Vec<DynamicObject>> {
    api.list(&ListParams::default()).await.map(|listed| listed.items).ok()
}
