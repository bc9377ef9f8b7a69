//! The route in a canary Ingress of ingress-nginx, for shares, and in the selector of the apex Service, for all.
//!
//! ```text
//! all on blue      selector blue
//! 10 % on green    selector blue, canary Ingress to green with weight 10
//! all on green     selector green
//! ```
//!
//! The canary Ingress exists only while there is a share. Two objects cannot change at once, so the stamp of the Service decides:
//!
//! ```text
//! a share   canary with weight 0, if there is none -> stamp -> weight, if the canary is still the same
//! all       selector and stamp -> the canary is deleted
//! ```
//!
//! The canary names the generation that its weight is of. If the stamp is newer, the change is unfinished, and the next try
//! finishes it. A weight that is late finds another canary, or none, and has no effect.

#![allow(unreachable_pub, reason = "the derive of the schema copies the struct into a function")]

use cutover_core::fraction::Percent;
use cutover_engine::edge::{EdgeError, ShiftError};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, KubeSchema, ResourceExt};
use serde::{Deserialize, Serialize};

use super::errors::{is_conflict, unchanged, unread};
use super::route::Route;
use super::service::{self, SelectorVersions};
use super::{Names, Watched};

mod object;

pub use object::{CANARY, canary_of_somebody_else, made};

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
    is_settled: bool,
}

impl Versions {
    /// Whether the canary Ingress is as the stamp says.
    pub(super) fn is_settled(&self) -> bool {
        self.is_settled
    }
}

impl CanaryCarrier {
    pub(super) async fn read(
        &self,
        watched: &Watched,
        names: &Names,
    ) -> Result<(Route, Versions), EdgeError> {
        let (route, services) = service::read(watched, names).await?;
        let canary = self.api(watched.client(), names).get_opt(&self.canary()).await;
        let canary = canary.map_err(|error| unread(&self.what(names, &self.canary()), error))?;
        let canary = canary.filter(object::is_ours);
        let Some(made) = &canary else {
            return Ok((Route { second: None, ..route }, Versions { services, canary, is_settled: true }));
        };
        let has_late_weight = object::generation(made) < route.stamp.generation;
        let stamped = route.stamp.share().filter(|_| has_late_weight);
        let read = object::share(made, names).map_err(|why| self.unusable(names, why))?;
        let second = stamped.clone().or(read).filter(|(slot, _)| *slot != route.active);
        let is_settled = second.is_some() && stamped.is_none();
        Ok((Route { second, ..route }, Versions { services, canary, is_settled }))
    }

    pub(super) async fn write(
        &self,
        client: &Client,
        names: &Names,
        versions: &Versions,
        next: &Route,
    ) -> Result<bool, ShiftError> {
        match &next.second {
            Some((slot, percent)) => self.write_share(client, names, versions, (next, slot, *percent)).await,
            None => self.write_all(client, names, versions, next).await,
        }
    }

    async fn write_share(
        &self,
        client: &Client,
        names: &Names,
        versions: &Versions,
        (next, slot, percent): (&Route, &str, Percent),
    ) -> Result<bool, ShiftError> {
        let ingresses = self.api(client, names);
        let (users, others) = self.users(&ingresses, names).await.map_err(ShiftError::NotSent)?;
        if let Some(other) = object::canary_of_somebody_else(&users, &others) {
            return Err(ShiftError::Refused(format!(
                "Ingress \"{other}\" in namespace \"{}\" is a canary of somebody else for the same host, and ingress-nginx \
                 obeys only one: delete it",
                names.namespace
            )));
        }
        let what = self.what(names, &self.canary());
        let wanted = object::made(&users, names, slot).map_err(|why| self.refused(names, &why))?;
        let (mut canary, is_new) = match &versions.canary {
            Some(canary) => (canary.clone(), false),
            None => {
                let empty = object::weighted(wanted.clone(), None, 0);
                let created = ingresses.create(&PostParams::default(), &empty).await;
                match created {
                    Ok(created) => (created, true),
                    Err(error) if is_conflict(&error) => return Ok(false),
                    Err(error) => return Err(unchanged(&what, error)),
                }
            }
        };
        match service::write(client, names, &versions.services, next).await {
            Ok(true) => {}
            not_moved => {
                if is_new {
                    self.delete(&ingresses, &canary).await;
                }
                return not_moved;
            }
        }
        canary.spec = wanted.spec;
        let canary = object::weighted(canary, Some(percent), next.stamp.generation);
        // With its resource version: if another operator has changed or deleted it since, this one comes too late.
        match ingresses.replace(&self.canary(), &PostParams::default(), &canary).await {
            Ok(_) => Ok(true),
            // The stamp is written, so the route counts as changed.
            Err(error) => Err(ShiftError::Unknown(unread(&what, error))),
        }
    }

    async fn write_all(
        &self,
        client: &Client,
        names: &Names,
        versions: &Versions,
        next: &Route,
    ) -> Result<bool, ShiftError> {
        if !service::write(client, names, &versions.services, next).await? {
            return Ok(false);
        }
        let ingresses = self.api(client, names);
        let what = self.what(names, &self.canary());
        let unknown = |error| ShiftError::Unknown(unread(&what, error));
        // One that has been made since it was read, too.
        let found = ingresses.get_opt(&self.canary()).await.map_err(unknown)?;
        if found.filter(object::is_ours).is_none() {
            return Ok(true);
        }
        match ingresses.delete(&self.canary(), &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(true),
            deleted => deleted.map(|_| true).map_err(unknown),
        }
    }

    /// Deletes a canary that has no weight, if it is still the same. One that is left has no effect.
    async fn delete(&self, ingresses: &Api<Ingress>, canary: &Ingress) {
        let preconditions =
            kube::api::Preconditions { resource_version: canary.resource_version(), uid: canary.uid() };
        let exactly = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        if let Err(error) = ingresses.delete(&self.canary(), &exactly).await {
            tracing::debug!(canary = self.canary(), %error, "a canary without weight is left");
        }
    }

    /// The users' Ingress, and the others of the namespace.
    async fn users(
        &self,
        ingresses: &Api<Ingress>,
        names: &Names,
    ) -> Result<(Ingress, Vec<Ingress>), EdgeError> {
        let all = ingresses.list(&ListParams::default()).await;
        let what = format!("Ingresses in namespace \"{}\"", names.namespace);
        let (users, others): (Vec<Ingress>, Vec<Ingress>) = all
            .map_err(|error| unread(&what, error))?
            .into_iter()
            .partition(|one| one.name_any() == self.ingress);
        let users = users.into_iter().next().ok_or_else(|| EdgeError::Unusable {
            what: self.what(names, &self.ingress),
            why: "it does not exist: name the Ingress that users reach in spec.edge.ingressCanary.ingress"
                .to_owned(),
        })?;
        Ok((users, others))
    }

    fn refused(&self, names: &Names, why: &str) -> ShiftError {
        ShiftError::Refused(format!("{} cannot be used: {why}", self.what(names, &self.ingress)))
    }

    fn unusable(&self, names: &Names, why: String) -> EdgeError {
        EdgeError::Unusable { what: self.what(names, &self.canary()), why }
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
