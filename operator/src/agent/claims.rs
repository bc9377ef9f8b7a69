//! Which resources an agent serves, and which of them may have the group in nginx that it names.

use std::collections::BTreeMap;
use std::sync::Arc;

use cutover_core::api::Group;
use kube::ResourceExt;

use crate::resource::{BlueGreen, EdgeSpec};

/// A resource and its group.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    /// The unique id of the resource.
    pub(super) uid: String,
    /// The resource.
    pub(super) resource: Arc<BlueGreen>,
    /// The group in nginx.
    pub(super) group: String,
    /// The older resource that has the group already.
    pub(super) taken_by: Option<String>,
}

/// The claims on an nginx in a Pod of this namespace with these labels.
pub(super) fn of(
    resources: &BTreeMap<String, Arc<BlueGreen>>,
    namespace: &str,
    labels: &BTreeMap<String, String>,
) -> Vec<Claim> {
    let mut claims: Vec<Claim> = resources
        .iter()
        .filter_map(|(uid, resource)| {
            let EdgeSpec::IngressNginx(spec) = &resource.spec.edge else { return None };
            let group = spec.group_of(&resource.name_any()).to_owned();
            let claim = Claim { uid: uid.clone(), resource: Arc::clone(resource), group, taken_by: None };
            spec.controller.selects(namespace, labels).then_some(claim)
        })
        .collect();
    claims.sort_by_key(|claim| (claim.resource.metadata.creation_timestamp.clone(), claim.uid.clone()));
    let mut owners = BTreeMap::<String, String>::new();
    for claim in &mut claims {
        let named = format!(
            "\"{}\" in namespace \"{}\"",
            claim.resource.name_any(),
            claim.resource.namespace().unwrap_or_default()
        );
        claim.taken_by = owners.get(&claim.group).cloned();
        owners.entry(claim.group.clone()).or_insert(named);
    }
    claims
}

impl Claim {
    /// Why nginx's group is not one of this resource.
    pub(super) fn objection(&self, group: &Group) -> Option<String> {
        let (spec, namespace) = (&self.resource.spec, self.resource.namespace().unwrap_or_default());
        if let Some(owner) = &self.taken_by {
            return Some(format!(
                "group \"{}\" belongs to BlueGreen {owner}: name another one in spec.edge.ingressNginx.group",
                self.group
            ));
        }
        spec.slots.iter().find_map(|(name, slot)| {
            let prefix = format!("{namespace}-{}-", slot.service);
            match group.slot(name) {
                None => Some(format!(
                    "group \"{}\" of nginx has no slot \"{name}\": write \"slot {name} {prefix}PORT;\" in \"cutover {}\"",
                    self.group, self.group
                )),
                Some(known) if !known.upstream.starts_with(&prefix) => Some(format!(
                    "slot \"{name}\" of group \"{}\" of nginx is backend {}, which is not of Service \"{}\" in namespace \
                     \"{namespace}\": write \"slot {name} {prefix}PORT;\"",
                    self.group, known.upstream, slot.service
                )),
                Some(_) => None,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use cutover_core::api::{RouteState, Slot};
    use serde_json::json;

    use super::*;

    fn resource(name: &str, created: &str, edge: &serde_json::Value) -> (String, Arc<BlueGreen>) {
        let slot = |slot: &str| json!({ "deployment": format!("{name}-{slot}"), "service": format!("{name}-{slot}") });
        let resource: BlueGreen = serde_json::from_value(json!({
            "apiVersion": "cutover.dev/v1alpha1",
            "kind": "BlueGreen",
            "metadata": { "name": name, "namespace": "web", "uid": name, "creationTimestamp": created },
            "spec": {
                "service": name,
                "slots": { "blue": slot("blue"), "green": slot("green") },
                "edge": edge,
                "version": "1",
            },
        }))
        .unwrap();
        (name.to_owned(), Arc::new(resource))
    }

    fn labels() -> BTreeMap<String, String> {
        [("app.kubernetes.io/component".to_owned(), "controller".to_owned())].into()
    }

    #[test]
    fn only_those_of_this_controller() {
        let ours = json!({ "ingressNginx": {} });
        let theirs = json!({ "ingressNginx": { "controller": { "namespace": "other" } } });
        let resources = [
            resource("shop", "2026-01-01T00:00:00Z", &ours),
            resource("blog", "2026-01-01T00:00:00Z", &theirs),
            resource("news", "2026-01-01T00:00:00Z", &json!({ "service": {} })),
        ];
        let claims = of(&resources.into(), "ingress-nginx", &labels());
        assert_eq!(claims.iter().map(|claim| claim.group.as_str()).collect::<Vec<_>>(), ["shop"]);
        assert!(claims[0].taken_by.is_none());
    }

    #[test]
    fn the_older_resource_has_the_group() {
        let edge = json!({ "ingressNginx": { "group": "front" } });
        let resources =
            [resource("a", "2026-01-02T00:00:00Z", &edge), resource("b", "2026-01-01T00:00:00Z", &edge)];
        let claims = of(&resources.into(), "ingress-nginx", &labels());
        assert_eq!((claims[0].uid.as_str(), &claims[0].taken_by), ("b", &None));
        assert_eq!(claims[1].taken_by.as_deref(), Some("\"b\" in namespace \"web\""));
    }

    #[test]
    fn a_group_over_other_services_is_not_touched() {
        let edge = json!({ "ingressNginx": {} });
        let resources = [resource("shop", "2026-01-01T00:00:00Z", &edge)];
        let claim = of(&resources.into(), "ingress-nginx", &labels()).remove(0);
        let group = |slots: &[(&str, &str)]| Group {
            name: "shop".to_owned(),
            route: RouteState {
                active: "blue".to_owned(),
                generation: 0,
                split: None,
                trial: None,
                standby: None,
            },
            slots: slots
                .iter()
                .map(|(name, upstream)| Slot {
                    name: (*name).to_owned(),
                    upstream: (*upstream).to_owned(),
                    ..Slot::default()
                })
                .collect(),
            events: Vec::new(),
        };
        let right = group(&[("blue", "web-shop-blue-http"), ("green", "web-shop-green-80")]);
        assert_eq!(claim.objection(&right), None);
        let missing = claim.objection(&group(&[("blue", "web-shop-blue-http")])).unwrap();
        assert!(
            missing.ends_with("write \"slot green web-shop-green-PORT;\" in \"cutover shop\""),
            "{missing}"
        );
        let stolen = group(&[("blue", "web-shop-blue-http"), ("green", "bank-shop-green-http")]);
        let stolen = claim.objection(&stolen).unwrap();
        assert!(stolen.contains("is backend bank-shop-green-http, which is not of Service"), "{stolen}");
    }
}
