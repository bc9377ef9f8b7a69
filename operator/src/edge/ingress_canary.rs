//! The route in a canary Ingress of ingress-nginx, for shares, and in the selector of the apex Service, for all.
//!
//! ```text
//! all on blue      selector blue
//! 10 % on green    selector blue, canary Ingress to green with weight 10
//! all on green     selector green
//! ```
//!
//! The canary Ingress exists only while there is a share. A change to all traffic moves the selector first, so that the share
//! never ends before the rest has moved, and then deletes the Ingress.

#![allow(unreachable_pub, reason = "the derive of the schema copies the struct into a function")]

use cutover_core::fraction::Percent;
use cutover_engine::edge::{EdgeError, ShiftError};
use k8s_openapi::api::networking::v1::{Ingress, IngressBackend, IngressServiceBackend};
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams};
use kube::{Api, Client, KubeSchema, ResourceExt};
use serde::{Deserialize, Serialize};

use super::Names;
use super::errors::{is_conflict, unchanged, unread};
use super::route::Route;
use super::service::{self, MANAGER, SelectorVersions};

const CANARY: &str = "nginx.ingress.kubernetes.io/canary";
const WEIGHT: &str = "nginx.ingress.kubernetes.io/canary-weight";
const TOTAL: &str = "nginx.ingress.kubernetes.io/canary-weight-total";

/// A canary Ingress of ingress-nginx.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IngressCanarySpec {
    /// The users' Ingress, whose backend is `spec.service`. The operator makes a canary Ingress beside it while there are shares.
    #[schemars(length(min = 1, max = 243))]
    pub ingress: String,
}

#[derive(Debug)]
pub(super) struct CanaryCarrier {
    pub(super) ingress: String,
}

/// The versions of the objects.
#[derive(Debug)]
pub(super) struct Versions {
    services: SelectorVersions,
    canary: Option<Ingress>,
    has_share: bool,
}

impl Versions {
    /// Whether there is no canary Ingress without a share.
    pub(super) fn is_settled(&self) -> bool {
        self.canary.is_none() || self.has_share
    }
}

impl CanaryCarrier {
    pub(super) async fn read(&self, client: &Client, names: &Names) -> Result<(Route, Versions), EdgeError> {
        let (route, services) = service::read(client, names).await?;
        let canary = self.api(client, names).get_opt(&self.canary()).await;
        let canary = canary.map_err(|error| unread(&self.what(names, &self.canary()), error))?;
        let second = match &canary {
            None => None,
            Some(canary) => self.share(canary, names)?.filter(|(slot, _)| *slot != route.active),
        };
        let has_share = second.is_some();
        Ok((Route { second, ..route }, Versions { services, canary, has_share }))
    }

    pub(super) async fn write(
        &self,
        client: &Client,
        names: &Names,
        versions: &Versions,
        next: &Route,
    ) -> Result<bool, ShiftError> {
        // The stamp on the Service is the compare-and-swap of the whole change, so it is written first.
        if !service::write(client, names, &versions.services, next).await? {
            return Ok(false);
        }
        let ingresses = self.api(client, names);
        let what = self.what(names, &self.canary());
        let Some((slot, percent)) = &next.second else {
            return match ingresses.delete(&self.canary(), &DeleteParams::default()).await {
                Ok(_) => Ok(true),
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(true),
                Err(error) => Err(ShiftError::Unknown(unread(&what, error))),
            };
        };
        let users = ingresses.get(&self.ingress).await;
        let users =
            users.map_err(|error| ShiftError::Unknown(unread(&self.what(names, &self.ingress), error)))?;
        let canary = self.made(&users, names, slot, *percent).map_err(ShiftError::Refused)?;
        match ingresses
            .patch(&self.canary(), &PatchParams::apply(MANAGER).force(), &Patch::Apply(canary))
            .await
        {
            Ok(_) => Ok(true),
            Err(error) if is_conflict(&error) => Ok(false),
            Err(error) => Err(match unchanged(&what, error) {
                // The stamp is written, so the route counts as changed.
                ShiftError::Refused(why) => {
                    ShiftError::Unknown(EdgeError::Refused { subject: super::API, why })
                }
                other => other,
            }),
        }
    }

    /// The canary Ingress: the users' one with another backend.
    fn made(&self, users: &Ingress, names: &Names, slot: &str, percent: Percent) -> Result<Ingress, String> {
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
        spec.default_backend.iter_mut().for_each(&mut replace);
        for rule in spec.rules.iter_mut().flatten() {
            // A canary Ingress applies to the paths that it has: those of other Services are none of ours.
            if let Some(http) = &mut rule.http {
                http.paths.retain(|path| {
                    path.backend.service.as_ref().is_some_and(|service| service.name == names.service)
                });
                http.paths.iter_mut().for_each(|path| replace(&mut path.backend));
            }
        }
        spec.rules.iter_mut().for_each(|rules| {
            rules.retain(|rule| rule.http.as_ref().is_some_and(|http| !http.paths.is_empty()))
        });
        spec.tls = None;
        if !found {
            return Err(format!(
                "Ingress \"{}\" has no backend with Service \"{}\": name the Ingress that users reach in \
                 spec.edge.ingressCanary.ingress",
                self.ingress, names.service
            ));
        }
        let annotations =
            [(CANARY, "true".to_owned()), (WEIGHT, percent.parts().to_string()), (TOTAL, "10000".to_owned())];
        Ok(Ingress {
            metadata: ObjectMeta {
                name: Some(self.canary()),
                namespace: Some(names.namespace.clone()),
                annotations: Some(annotations.map(|(key, value)| (key.to_owned(), value)).into()),
                labels: Some([("app.kubernetes.io/managed-by".to_owned(), MANAGER.to_owned())].into()),
                owner_references: users.metadata.uid.clone().map(|uid| {
                    vec![k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference {
                        api_version: "networking.k8s.io/v1".to_owned(),
                        kind: "Ingress".to_owned(),
                        name: users.name_any(),
                        uid,
                        ..Default::default()
                    }]
                }),
                ..ObjectMeta::default()
            },
            spec: Some(spec),
            status: None,
        })
    }

    /// The slot of the canary Ingress and its share. `None`: it gets nothing.
    fn share(&self, canary: &Ingress, names: &Names) -> Result<Option<(String, Percent)>, EdgeError> {
        let unusable = |why: String| EdgeError::Unusable { what: self.what(names, &self.canary()), why };
        let number = |key| canary.annotations().get(key).and_then(|text| text.parse::<u64>().ok());
        let weight = number(WEIGHT)
            .ok_or_else(|| unusable(format!("its annotation {WEIGHT} is not a number: delete it")))?;
        let total = number(TOTAL).unwrap_or(100).max(1);
        let parts = u16::try_from((weight.min(total)) * 10_000 / total).unwrap_or(10_000);
        let rules = canary.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
        let backends =
            rules.flat_map(|rule| rule.http.iter().flat_map(|http| &http.paths)).map(|path| &path.backend);
        let default = canary.spec.iter().flat_map(|spec| &spec.default_backend);
        let mut services = default.chain(backends).filter_map(|backend| backend.service.as_ref());
        let slot = services.find_map(|service| names.slot_of(&service.name));
        let slot = slot.ok_or_else(|| unusable("it leads to no slot: delete it".to_owned()))?;
        Ok(Percent::from_parts(parts).filter(|_| parts > 0).map(|percent| (slot.to_owned(), percent)))
    }

    fn canary(&self) -> String {
        format!("{}-canary", self.ingress)
    }

    fn api(&self, client: &Client, names: &Names) -> Api<Ingress> {
        Api::namespaced(client.clone(), &names.namespace)
    }

    fn what(&self, names: &Names, ingress: &str) -> String {
        format!("Ingress \"{ingress}\" in namespace \"{}\"", names.namespace)
    }
}
