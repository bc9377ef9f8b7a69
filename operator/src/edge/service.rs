//! The route in the selector of the apex Service: it is that of the active slot's Service.

use std::collections::BTreeMap;

use cutover_engine::edge::{EdgeError, Shift, ShiftError};
use k8s_openapi::api::core::v1::Service;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::errors::{is_conflict, unchanged, unread};
use super::names::MANAGER;
use super::route::{ANNOTATION, Route, Stamp};
use super::{Names, Watched, errors};

/// The selectors, and the version of the apex Service.
#[derive(Clone, Debug)]
pub(super) struct SelectorVersions {
    resource_version: String,
    selectors: BTreeMap<String, BTreeMap<String, String>>,
}

/// Reads the route. Only the apex Service is read anew.
pub(super) async fn read(watched: &Watched, names: &Names) -> Result<(Route, SelectorVersions), EdgeError> {
    let mut selectors = BTreeMap::new();
    for (slot, service) in &names.slots {
        let what = what(names, service);
        let of_slot = match watched.service(names, service).await? {
            Some(known) => selector(&known, &what)?,
            // It may be new, or there is none: the API server says which.
            None => selector(&get(watched.client(), names, service).await?, &what)?,
        };
        selectors.insert(slot.clone(), of_slot);
    }
    route_of(watched.client(), names, selectors).await
}

/// The same. Reads all Services anew.
pub(super) async fn read_all(client: &Client, names: &Names) -> Result<(Route, SelectorVersions), EdgeError> {
    let mut selectors = BTreeMap::new();
    for (slot, service) in &names.slots {
        let of_slot = selector(&get(client, names, service).await?, &what(names, service))?;
        selectors.insert(slot.clone(), of_slot);
    }
    route_of(client, names, selectors).await
}

async fn get(client: &Client, names: &Names, service: &str) -> Result<Service, EdgeError> {
    let services: Api<Service> = Api::namespaced(client.clone(), &names.namespace);
    services.get(service).await.map_err(|error| unread(&what(names, service), error))
}

fn what(names: &Names, service: &str) -> String {
    format!("Service \"{service}\" in namespace \"{}\"", names.namespace)
}

/// The route, given the selectors of the slots' Services.
async fn route_of(
    client: &Client,
    names: &Names,
    selectors: BTreeMap<String, BTreeMap<String, String>>,
) -> Result<(Route, SelectorVersions), EdgeError> {
    if let [one, other] = selectors.values().collect::<Vec<_>>()[..]
        && one == other
    {
        return Err(EdgeError::Unusable {
            what: names
                .slots
                .iter()
                .map(|(_, service)| what(names, service))
                .collect::<Vec<_>>()
                .join(" and "),
            why: "they select the same Pods: give each slot's Pods a label of their own, as in slot: blue"
                .to_owned(),
        });
    }
    let apex = get(client, names, &names.service).await?;
    let now = selector(&apex, &what(names, &names.service))?;
    let active = selectors.iter().find(|(_, selector)| **selector == now).map(|(slot, _)| slot.clone());
    let active = active.ok_or_else(|| EdgeError::Unusable {
        what: what(names, &names.service),
        why: format!(
            "its selector {} is that of no slot's Service: set it to the selector of the slot that users are to reach, as in {}",
            json!(now),
            json!(selectors.values().next()),
        ),
    })?;
    let stamp = Stamp::read(apex.annotations().get(ANNOTATION));
    let resource_version = apex.resource_version().unwrap_or_default();
    Ok((Route { active, second: None, stamp }, SelectorVersions { resource_version, selectors }))
}

/// Writes the active slot of a route.
pub(super) async fn write(
    client: &Client,
    names: &Names,
    versions: &SelectorVersions,
    next: &Route,
) -> Result<bool, ShiftError> {
    let services: Api<Service> = Api::namespaced(client.clone(), &names.namespace);
    let what = format!("Service \"{}\" in namespace \"{}\"", names.service, names.namespace);
    let Some(selector) = versions.selectors.get(&next.active) else {
        return Err(ShiftError::Refused(format!("there is no slot \"{}\"", next.active)));
    };
    // A merge patch with a resource version is refused when the object has another one. Keys that are not in the new selector go.
    let gone =
        versions.selectors.values().flat_map(BTreeMap::keys).filter(|key| !selector.contains_key(*key));
    let selector: serde_json::Map<String, serde_json::Value> = (selector.iter())
        .map(|(key, value)| (key.clone(), json!(value)))
        .chain(gone.map(|key| (key.clone(), serde_json::Value::Null)))
        .collect();
    let patch = json!({
        "metadata": {
            "resourceVersion": versions.resource_version,
            "annotations": { ANNOTATION: next.stamp.write() },
        },
        "spec": { "selector": selector },
    });
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    match services.patch(&names.service, &params, &Patch::Merge(patch)).await {
        Ok(_) => Ok(true),
        Err(error) if is_conflict(&error) => Ok(false),
        Err(error) => Err(unchanged(&what, error)),
    }
}

/// Lets the selector follow a route that something else carries.
pub(super) async fn follow(
    client: &Client,
    names: &Names,
    active: &str,
    reason: &str,
) -> Result<(), ShiftError> {
    for _ in 0..super::names::TRIES {
        let (route, versions) = read_all(client, names).await.map_err(ShiftError::NotSent)?;
        let (to, reason) = (active.to_owned(), reason.to_owned());
        let shift = Shift { to, share: None, reason, trial: None, fence: false };
        let next = route.after(&shift).map_err(ShiftError::Refused)?;
        if next.is_same(&route) || write(client, names, &versions, &next).await? {
            return Ok(());
        }
    }
    Err(ShiftError::Refused(format!("Service \"{}\" changes too often", names.service)))
}

fn selector(service: &Service, what: &str) -> Result<BTreeMap<String, String>, EdgeError> {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default();
    if selector.is_empty() {
        return Err(EdgeError::Unusable {
            what: what.to_owned(),
            why: format!("it has no selector, so {} does not know its Pods: add one", errors::API),
        });
    }
    Ok(selector)
}
