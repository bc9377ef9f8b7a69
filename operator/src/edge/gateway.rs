//! The route in the weights of an HTTPRoute of the Gateway API.
//!
//! Each rule that names a slot's Service must name both. Only their weights are written; all else stays as it is.
//!
//! A parent of the route is a Gateway, or a Service if a mesh serves it (GAMMA). Each must accept a change before it counts as
//! made.

#![allow(unreachable_pub, reason = "the derive of the schema copies the struct into a function")]

use std::time::Duration;

use cutover_core::fraction::{Percent, Share};
use cutover_engine::edge::{EdgeError, ShiftError};
use kube::api::{ApiResource, Patch, PatchParams};
use kube::core::{DynamicObject, GroupVersionKind};
use kube::{Api, Client, KubeSchema, ResourceExt};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Names;
use super::errors::{is_conflict, unchanged, unread};
use super::names::MANAGER;
use super::route::{ANNOTATION, Route, Stamp};
pub use acceptance::acceptance;

mod acceptance;

/// How long the parents may take to accept a change. The controller of a gateway may be restarting.
const ACCEPTANCE: Duration = Duration::from_secs(30);

/// How long a route may be unaccepted before it is given new weights.
const BEFORE: Duration = Duration::from_secs(5);

/// Pause between two readings.
const PAUSE: Duration = Duration::from_millis(100);

/// The weights of an HTTPRoute.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewaySpec {
    /// The HTTPRoute whose `backendRefs` name the Services of both slots.
    #[schemars(length(min = 1, max = 253))]
    pub route: String,
}

#[derive(Debug)]
pub(super) struct GatewayCarrier {
    pub(super) route: String,
}

/// A reference to a slot's Service: where it is, which slot, and its weight.
#[derive(Debug, PartialEq)]
struct Reference {
    pointer: String,
    slot: String,
    weight: u64,
}

impl GatewayCarrier {
    pub(super) async fn read(
        &self,
        client: &Client,
        names: &Names,
    ) -> Result<(Route, DynamicObject), EdgeError> {
        let object = self.api(client, names).get(&self.route).await;
        let object = object.map_err(|error| unread(&self.what(names), error))?;
        let first = shares(&object.data, names).map_err(|why| self.unusable(names, why))?;
        let stamp = Stamp::read(object.annotations().get(ANNOTATION));
        Ok((Route::of_weights(first.most, first.least, stamp), object))
    }

    pub(super) async fn write(
        &self,
        client: &Client,
        names: &Names,
        object: &DynamicObject,
        next: &Route,
    ) -> Result<bool, ShiftError> {
        let rules = references(&object.data, names).map_err(ShiftError::Refused)?;
        let mut operations = vec![
            json!({ "op": "replace", "path": "/metadata/resourceVersion", "value": object.resource_version() }),
        ];
        if object.metadata.annotations.is_none() {
            operations.push(json!({ "op": "add", "path": "/metadata/annotations", "value": {} }));
        }
        let annotation = format!("/metadata/annotations/{}", ANNOTATION.replace('/', "~1"));
        operations.push(json!({ "op": "add", "path": annotation, "value": next.stamp.write() }));
        for Reference { pointer, slot, .. } in rules.iter().flatten() {
            operations.push(
                json!({ "op": "add", "path": format!("{pointer}/weight"), "value": weight(next, slot) }),
            );
        }
        let patch: json_patch::Patch = serde_json::from_value(Value::Array(operations))
            .map_err(|error| ShiftError::Refused(error.to_string()))?;
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        match self.api(client, names).patch(&self.route, &params, &Patch::<Value>::Json(patch)).await {
            Ok(_) => Ok(true),
            Err(error) if is_conflict(&error) => Ok(false),
            Err(error) => Err(unchanged(&self.what(names), error)),
        }
    }

    /// Waits until every parent of the route has accepted the change and resolved its references. Tries again and again of the same
    /// change share its time.
    pub(super) async fn accepted(
        &self,
        client: &Client,
        names: &Names,
        next: &Route,
    ) -> Result<(), EdgeError> {
        let left = ACCEPTANCE.saturating_sub(next.stamp.age());
        self.until_accepted(client, names, &next.stamp, left).await.map_err(|error| match error {
            EdgeError::Unusable { what, why } => {
                let limit = humantime::format_duration(ACCEPTANCE);
                EdgeError::Unusable {
                    what,
                    why: format!("its new weights are not accepted within {limit}: {why}"),
                }
            }
            error => error,
        })
    }

    /// Fails if the parents do not accept the route as it is: they would not accept other weights either.
    pub(super) async fn may_change(
        &self,
        client: &Client,
        names: &Names,
        route: &Route,
    ) -> Result<(), EdgeError> {
        self.until_accepted(client, names, &route.stamp, BEFORE).await
    }

    async fn until_accepted(
        &self,
        client: &Client,
        names: &Names,
        stamp: &Stamp,
        limit: Duration,
    ) -> Result<(), EdgeError> {
        let begin = tokio::time::Instant::now();
        loop {
            let object = self.api(client, names).get(&self.route).await;
            let object = object.map_err(|error| unread(&self.what(names), error))?;
            if Stamp::read(object.annotations().get(ANNOTATION)) != *stamp {
                // The next reading says who moved it.
                return Ok(());
            }
            match acceptance(&object.data, object.metadata.generation.unwrap_or_default()) {
                Ok(()) => return Ok(()),
                Err(why) if begin.elapsed() >= limit => return Err(self.unusable(names, why)),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    fn api(&self, client: &Client, names: &Names) -> Api<DynamicObject> {
        api(client, &names.namespace, "HTTPRoute")
    }

    fn what(&self, names: &Names) -> String {
        format!("HTTPRoute \"{}\" in namespace \"{}\"", self.route, names.namespace)
    }

    fn unusable(&self, names: &Names, why: String) -> EdgeError {
        EdgeError::Unusable { what: self.what(names), why }
    }
}

/// Objects of the Gateway API.
pub fn api(client: &Client, namespace: &str, kind: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", kind);
    Api::namespaced_with(client.clone(), namespace, &ApiResource::from_gvk(&kind))
}

/// Fails with the reason if the operator could not move the traffic by the weights of a route.
pub fn judge(object: &Value, names: &Names) -> Result<(), String> {
    shares(object, names).map(drop)
}

/// The shares of the slots, which are the same in each rule.
fn shares(object: &Value, names: &Names) -> Result<Shares, String> {
    let rules = references(object, names)?;
    let mut shares = rules.iter().map(|rule| share(rule));
    let first = shares.next().unwrap_or_else(|| {
        Err(format!(
            "none of its backendRefs names Service \"{}\": add the Services of both slots, the active one with weight 100 and \
             the other with weight 0",
            names.slots.iter().map(|(_, service)| service.as_str()).collect::<Vec<_>>().join("\" or \""),
        ))
    })?;
    for other in shares {
        if other? != first {
            let why =
                "its rules give the slots different shares: give both slots the same weights in each rule";
            return Err(why.to_owned());
        }
    }
    Ok(first)
}

/// The references to slots, by rule. Rules without any are left out.
fn references(object: &Value, names: &Names) -> Result<Vec<Vec<Reference>>, String> {
    let rules = object.pointer("/spec/rules").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut all = Vec::new();
    for (at, rule) in rules.iter().enumerate() {
        let backends = rule.get("backendRefs").and_then(Value::as_array).cloned().unwrap_or_default();
        let of_slot = |(index, backend): (usize, &Value)| {
            let is_service = backend.get("kind").and_then(Value::as_str).is_none_or(|kind| kind == "Service");
            let namespace = backend.get("namespace").and_then(Value::as_str);
            let is_here = namespace.is_none_or(|namespace| namespace == names.namespace);
            let slot = names.slot_of(backend.get("name")?.as_str()?).filter(|_| is_service && is_here)?;
            Some(Reference {
                pointer: format!("/spec/rules/{at}/backendRefs/{index}"),
                slot: slot.to_owned(),
                weight: backend.get("weight").and_then(Value::as_u64).unwrap_or(1),
            })
        };
        let found: Vec<Reference> = backends.iter().enumerate().filter_map(of_slot).collect();
        match found.len() {
            0 => {}
            2 if found.iter().all(|one| found.iter().filter(|other| other.slot == one.slot).count() == 1) => {
                all.push(found);
            }
            _ => {
                return Err(format!(
                    "spec.rules[{at}] must name the Service of each slot once in its backendRefs, {}: add what is missing, with \
                     weight 0",
                    names.slots.iter().map(|(_, service)| service.as_str()).collect::<Vec<_>>().join(" and "),
                ));
            }
        }
    }
    Ok(all)
}

/// The shares of the slots.
#[derive(Clone, Debug, PartialEq)]
struct Shares {
    /// The slot with most of the traffic.
    most: (String, Percent),
    /// The other one. `None`: it gets nothing.
    least: Option<(String, Percent)>,
}

/// The shares that a rule gives the slots.
fn share(rule: &[Reference]) -> Result<Shares, String> {
    let [one, other] = rule else { return Err("a rule must name both slots".to_owned()) };
    // Which of two with the same weight comes first does not depend on their order in the rule.
    let is_first = (one.weight, &other.slot) >= (other.weight, &one.slot);
    let (most, least) = if is_first { (one, other) } else { (other, one) };
    let sum = most.weight.saturating_add(least.weight);
    if sum == 0 {
        return Err(
            "both slots have weight 0, so nobody gets an answer: give the active slot weight 100".to_owned()
        );
    }
    let parts = u128::from(least.weight) * u128::from(Share::WHOLE) / u128::from(sum);
    let parts = u16::try_from(parts).unwrap_or(Share::WHOLE / 2);
    let of =
        |parts, reference: &Reference| Percent::from_parts(parts).map(|part| (reference.slot.clone(), part));
    let most = of(Share::WHOLE - parts, most).ok_or_else(|| "its weights are no shares".to_owned())?;
    Ok(Shares { most, least: of(parts, least).filter(|(_, part)| part.parts() > 0) })
}

fn weight(route: &Route, slot: &str) -> u16 {
    let whole = Share::WHOLE;
    let parts = match &route.second {
        Some((second, percent)) if second == slot => percent.parts(),
        Some((_, percent)) => whole - percent.parts(),
        None if route.active == slot => whole,
        None => 0,
    };
    // Plain percent where they are whole.
    let is_plain = route.second.as_ref().is_none_or(|(_, percent)| percent.parts() % 100 == 0);
    if is_plain { parts / 100 } else { parts }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let slot = |name: &str| (name.to_owned(), format!("shop-{name}"));
        Names {
            namespace: "web".to_owned(),
            group: "shop".to_owned(),
            service: "shop".to_owned(),
            port: None,
            slots: vec![slot("blue"), slot("green")],
        }
    }

    fn route(backends: Value) -> Value {
        json!({ "spec": { "rules": [{ "backendRefs": [{ "name": "other" }] }, { "backendRefs": backends }] } })
    }

    #[test]
    fn weights_as_shares() {
        for (blue, green, active, second) in [
            (100, 0, "blue", None),
            (0, 1, "green", None),
            (90, 10, "blue", Some(("green", 1_000))),
            (1, 3, "green", Some(("blue", 2_500))),
        ] {
            let backends =
                json!([{ "name": "shop-blue", "weight": blue }, { "name": "shop-green", "weight": green }]);
            let rules = references(&route(backends), &names()).unwrap();
            let second = second.map(|(slot, parts)| (slot.to_owned(), Percent::from_parts(parts).unwrap()));
            let shares = share(&rules[0]).unwrap();
            assert_eq!((shares.most.0.as_str(), &shares.least), (active, &second), "{blue} {green}");
            let sum = shares.most.1.parts() + second.map_or(0, |(_, part)| part.parts());
            assert_eq!(sum, Share::WHOLE);
            assert_eq!(rules[0][1].pointer, "/spec/rules/1/backendRefs/1");
        }
    }

    #[test]
    fn a_rule_must_name_both_slots() {
        let one = references(&route(json!([{ "name": "shop-blue" }])), &names());
        assert!(one.unwrap_err().starts_with("spec.rules[1] must name the Service of each slot"));
        assert_eq!(references(&route(json!([])), &names()).unwrap(), Vec::<Vec<Reference>>::new());
    }

    #[test]
    fn written_weights() {
        let route = |parts| Route {
            active: "blue".to_owned(),
            second: Some(("green".to_owned(), Percent::from_parts(parts).unwrap())),
            stamp: Stamp::default(),
        };
        assert_eq!((weight(&route(1_000), "blue"), weight(&route(1_000), "green")), (90, 10));
        assert_eq!((weight(&route(25), "blue"), weight(&route(25), "green")), (9_975, 25));
    }
}
