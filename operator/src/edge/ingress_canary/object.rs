//! The canary Ingress itself: how it is made from the users' one, and what it says.

use std::collections::BTreeSet;

use cutover_core::fraction::Percent;
use k8s_openapi::api::networking::v1::{Ingress, IngressBackend, IngressServiceBackend};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use kube::api::ObjectMeta;

use super::super::Names;
use crate::edge::names::MANAGED_BY;

/// The annotation that makes a canary of an Ingress.
pub const CANARY: &str = "nginx.ingress.kubernetes.io/canary";
const WEIGHT: &str = "nginx.ingress.kubernetes.io/canary-weight";
const TOTAL: &str = "nginx.ingress.kubernetes.io/canary-weight-total";
/// The generation of the route that the weight is of.
const GENERATION: &str = "cutover.dev/generation";

/// What ingress-nginx reads from the canary itself. All else is that of the users' Ingress.
const COPIED: [&str; 5] = [
    "kubernetes.io/ingress.class",
    "nginx.ingress.kubernetes.io/load-balance",
    "nginx.ingress.kubernetes.io/upstream-hash-by",
    "nginx.ingress.kubernetes.io/upstream-hash-by-subset",
    "nginx.ingress.kubernetes.io/upstream-hash-by-subset-size",
];

/// The canary of a slot: the users' Ingress with another backend. It has no weight yet.
pub fn made(users: &Ingress, names: &Names, slot: &str) -> Result<Ingress, String> {
    let service = names.service_of(slot).ok_or_else(|| format!("there is no slot \"{slot}\""))?;
    let mut spec = users.spec.clone().unwrap_or_default();
    let mut found = false;
    let mut replace = |backend: &mut IngressBackend| {
        if let Some(IngressServiceBackend { name, .. }) = &mut backend.service
            && *name == names.service
        {
            service.clone_into(name);
            found = true;
        }
    };
    let is_apex =
        |backend: &IngressBackend| backend.service.as_ref().is_some_and(|its| its.name == names.service);
    // A canary Ingress applies to the paths that it has: those of other Services are none of ours.
    spec.default_backend = spec.default_backend.filter(is_apex);
    spec.default_backend.iter_mut().for_each(&mut replace);
    for http in spec.rules.iter_mut().flatten().filter_map(|rule| rule.http.as_mut()) {
        http.paths.retain(|path| is_apex(&path.backend));
        http.paths.iter_mut().for_each(|path| replace(&mut path.backend));
    }
    spec.rules
        .iter_mut()
        .for_each(|rules| rules.retain(|rule| rule.http.as_ref().is_some_and(|http| !http.paths.is_empty())));
    spec.tls = None;
    if !found {
        return Err(format!(
            "it has no backend with Service \"{}\": name the Ingress that users reach in spec.edge.ingressCanary.ingress",
            names.service
        ));
    }
    let copied = COPIED
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), users.annotations().get(*key)?.clone())))
        .chain([(CANARY.to_owned(), "true".to_owned())]);
    let owner = users.uid().map(|uid| OwnerReference {
        api_version: "networking.k8s.io/v1".to_owned(),
        kind: "Ingress".to_owned(),
        name: users.name_any(),
        uid,
        ..OwnerReference::default()
    });
    Ok(Ingress {
        metadata: ObjectMeta {
            name: Some(format!("{}-canary", users.name_any())),
            namespace: Some(names.namespace.clone()),
            annotations: Some(copied.collect()),
            labels: Some([(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned())].into()),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    })
}

/// The same with a weight. `None`: it gets nothing.
pub(super) fn weighted(mut canary: Ingress, percent: Option<Percent>, generation: u64) -> Ingress {
    let weight = percent.map_or(0, Percent::parts);
    canary.annotations_mut().extend([
        (WEIGHT.to_owned(), weight.to_string()),
        (TOTAL.to_owned(), "10000".to_owned()),
        (GENERATION.to_owned(), generation.to_string()),
    ]);
    canary
}

/// Whether Cutover has made it.
pub(super) fn is_ours(canary: &Ingress) -> bool {
    canary.labels().get(MANAGED_BY.0).is_some_and(|owner| owner == MANAGED_BY.1)
}

/// The generation of the route that the weight is of. 0: that of none.
pub(super) fn generation(canary: &Ingress) -> u64 {
    canary.annotations().get(GENERATION).and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// The slot of a canary and its share. `None`: it gets nothing.
pub(super) fn share(canary: &Ingress, names: &Names) -> Result<Option<(String, Percent)>, String> {
    let number = |key| canary.annotations().get(key).and_then(|text| text.parse::<u64>().ok());
    let weight =
        number(WEIGHT).ok_or_else(|| format!("its annotation {WEIGHT} is not a number: delete it"))?;
    let total = number(TOTAL).unwrap_or(100).max(1);
    let parts = u128::from(weight.min(total)) * 10_000 / u128::from(total);
    let parts = u16::try_from(parts).unwrap_or(10_000);
    let rules = canary.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
    let backends =
        rules.flat_map(|rule| rule.http.iter().flat_map(|http| &http.paths)).map(|path| &path.backend);
    let default = canary.spec.iter().flat_map(|spec| &spec.default_backend);
    let mut services = default.chain(backends).filter_map(|backend| backend.service.as_ref());
    let slot = services.find_map(|service| names.slot_of(&service.name));
    let slot = slot.ok_or_else(|| "it leads to no slot: delete it".to_owned())?;
    Ok(Percent::from_parts(parts).filter(|_| parts > 0).map(|percent| (slot.to_owned(), percent)))
}

/// The name of a canary that Cutover has not made and that is about a host of the users' Ingress.
pub fn canary_of_somebody_else(users: &Ingress, others: &[Ingress]) -> Option<String> {
    let own = hosts(users);
    let is_canary = |one: &&Ingress| one.annotations().get(CANARY).is_some_and(|text| text == "true");
    let mut theirs = others.iter().filter(is_canary).filter(|one| !is_ours(one));
    theirs.find(|one| !own.is_disjoint(&hosts(one))).map(ResourceExt::name_any)
}

/// The hosts of an Ingress. `None`: all.
fn hosts(ingress: &Ingress) -> BTreeSet<Option<&str>> {
    let spec = ingress.spec.as_ref();
    let of_rules = spec.iter().flat_map(|spec| spec.rules.iter().flatten()).map(|rule| rule.host.as_deref());
    let of_default = spec.and_then(|spec| spec.default_backend.as_ref()).map(|_| None);
    of_rules.chain(of_default).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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

    fn path(path: &str, service: &str) -> serde_json::Value {
        let backend = json!({ "service": { "name": service, "port": { "name": "http" } } });
        json!({ "path": path, "pathType": "Prefix", "backend": backend })
    }

    fn ingress(name: &str, paths: &[serde_json::Value]) -> Ingress {
        serde_json::from_value(json!({
            "metadata": { "name": name, "annotations": { "kubernetes.io/ingress.class": "nginx", "other": "x" } },
            "spec": { "tls": [{ "hosts": ["shop.test"] }], "rules": [
                { "host": "shop.test", "http": { "paths": paths } },
                { "host": "api.test", "http": { "paths": [path("/", "api")] } },
            ] },
        }))
        .unwrap()
    }

    #[test]
    fn it_has_the_paths_of_the_service_alone_and_what_ingress_nginx_reads_from_it() {
        let users = ingress("shop", &[path("/", "shop"), path("/api", "api")]);
        let canary = weighted(made(&users, &names(), "green").unwrap(), Percent::from_parts(1_000), 7);
        assert_eq!(canary.name_any(), "shop-canary");
        let spec = canary.spec.as_ref().unwrap();
        assert_eq!(spec.tls, None);
        let rules = spec.rules.as_ref().unwrap();
        let paths: Vec<_> = rules.iter().flat_map(|rule| &rule.http.as_ref().unwrap().paths).collect();
        assert_eq!((rules.len(), paths.len()), (1, 1));
        assert_eq!(paths[0].backend.service.as_ref().unwrap().name, "shop-green");
        assert_eq!(canary.annotations().get("kubernetes.io/ingress.class").unwrap(), "nginx");
        assert!(!canary.annotations().contains_key("other"));
        let ten = Some(("green".to_owned(), Percent::from_parts(1_000).unwrap()));
        assert_eq!((share(&canary, &names()).unwrap(), generation(&canary)), (ten, 7));
        assert!(is_ours(&canary) && !is_ours(&users));
        assert_eq!(share(&weighted(canary, None, 0), &names()).unwrap(), None);
    }

    #[test]
    fn an_ingress_of_another_service_is_refused() {
        let why = made(&ingress("shop", &[path("/", "api")]), &names(), "green").unwrap_err();
        assert!(why.starts_with("it has no backend with Service \"shop\""), "{why}");
    }

    #[test]
    fn a_canary_of_somebody_else_counts_if_it_is_about_the_same_host() {
        let users = ingress("shop", &[path("/", "shop")]);
        let mut theirs = ingress("theirs", &[path("/", "other")]);
        assert_eq!(canary_of_somebody_else(&users, &[theirs.clone()]), None, "it is no canary");
        theirs.annotations_mut().insert(CANARY.to_owned(), "true".to_owned());
        assert_eq!(canary_of_somebody_else(&users, &[theirs.clone()]).as_deref(), Some("theirs"));
        theirs
            .spec
            .as_mut()
            .unwrap()
            .rules
            .as_mut()
            .unwrap()
            .iter_mut()
            .for_each(|rule| rule.host = Some("x".to_owned()));
        assert_eq!(canary_of_somebody_else(&users, &[theirs]), None, "it is about another host");
        let ours = made(&users, &names(), "green").unwrap();
        assert_eq!(canary_of_somebody_else(&users, &[ours]), None);
    }
}
