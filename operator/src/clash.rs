//! What two resources have in common that only one may have.

use kube::ResourceExt;
use thiserror::Error;

use crate::resource::{BlueGreen, BlueGreenSpec};

/// A Service or a Deployment that belongs to another resource.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{kind} \"{name}\" belongs to BlueGreen \"{owner}\" already: use another one, or delete \"{owner}\"")]
pub struct Clash {
    /// Service or Deployment.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// The other resource.
    pub owner: String,
}

/// What another resource of the namespace has already.
pub fn clash(spec: &BlueGreenSpec, other: &BlueGreen) -> Option<Clash> {
    let theirs = named(&other.spec);
    let common = named(spec).into_iter().find(|one| theirs.contains(one));
    common.map(|(kind, name)| Clash { kind, name, owner: other.name_any() })
}

/// The Services and Deployments that a spec names.
fn named(spec: &BlueGreenSpec) -> Vec<(&'static str, String)> {
    let slots = spec.slots.values();
    let services = slots.clone().map(|slot| ("Service", slot.service.clone()));
    let deployments = slots.map(|slot| ("Deployment", slot.deployment.clone()));
    let all = [("Service", spec.service.clone())].into_iter().chain(services).chain(deployments);
    all.filter(|(_, name)| !name.is_empty()).collect()
}
