//! The kinds of objects that carry a route.

use cutover_engine::edge::{Abilities, EdgeError, Follow, ShiftError};
use kube::Client;

use super::argo_rollouts::ArgoRolloutsSpec;
use super::gateway::{GatewayCarrier, GatewaySpec};
use super::ingress_canary::{CanaryCarrier, IngressCanarySpec};
use super::ingress_nginx::IngressNginxSpec;
use super::route::Route;
use super::service::{self, SelectorVersions};
use super::{Names, Watched, ingress_canary};
use crate::resource::EdgeSpec;

/// What carries the route.
#[derive(Debug)]
pub(super) enum Carrier {
    /// The selector of the apex Service.
    Service,
    /// A canary Ingress, and that selector.
    IngressCanary(CanaryCarrier),
    /// The weights of an HTTPRoute.
    Gateway(GatewayCarrier),
}

/// What the objects were like when the route was read. A change takes effect only if they still are.
#[derive(Debug)]
pub(super) enum Versions {
    /// Of the Services.
    Service(SelectorVersions),
    /// Of the Services and the canary Ingress.
    IngressCanary(Box<ingress_canary::Versions>),
    /// The HTTPRoute.
    Gateway(Box<kube::core::DynamicObject>),
}

/// The kinds whose route is moved by others.
pub(super) enum Other<'a> {
    /// By agents.
    IngressNginx(&'a IngressNginxSpec),
    /// By the controller of Argo.
    ArgoRollouts(&'a ArgoRolloutsSpec),
}

impl Carrier {
    /// The carrier of a kind of edge. Fails for the kinds whose route is moved by others.
    pub(super) fn new(spec: &EdgeSpec) -> Result<Self, Other<'_>> {
        Ok(match spec {
            EdgeSpec::Service {} => Self::Service,
            EdgeSpec::IngressCanary(IngressCanarySpec { ingress }) => {
                Self::IngressCanary(CanaryCarrier { ingress: ingress.clone() })
            }
            EdgeSpec::Gateway(GatewaySpec { route }) => {
                Self::Gateway(GatewayCarrier { route: route.clone() })
            }
            EdgeSpec::IngressNginx(spec) => return Err(Other::IngressNginx(spec)),
            EdgeSpec::ArgoRollouts(spec) => return Err(Other::ArgoRollouts(spec)),
        })
    }

    /// The name of the edge.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::IngressCanary(_) => "ingressCanary",
            Self::Gateway(_) => "gateway",
        }
    }

    /// What it can do. A selector has all or nothing.
    pub(super) fn abilities(&self) -> Abilities {
        let shares = !matches!(self, Self::Service);
        Abilities { follow: Follow::Propagated, trials: false, counters: false, shares }
    }

    /// The object that carries the annotation, in messages.
    pub(super) fn subject(&self, names: &Names) -> String {
        match self {
            Self::Service | Self::IngressCanary(_) => format!("Service \"{}\"", names.service),
            Self::Gateway(GatewayCarrier { route }) => format!("HTTPRoute \"{route}\""),
        }
    }

    /// The same as an argument of kubectl.
    pub(super) fn typed(&self, names: &Names) -> String {
        match self {
            Self::Service | Self::IngressCanary(_) => format!("service {}", names.service),
            Self::Gateway(GatewayCarrier { route }) => format!("httproute {route}"),
        }
    }

    pub(super) async fn read(
        &self,
        watched: &Watched,
        names: &Names,
    ) -> Result<(Route, Versions), EdgeError> {
        match self {
            Self::Service => {
                let (route, versions) = service::read(watched, names).await?;
                Ok((route, Versions::Service(versions)))
            }
            Self::IngressCanary(canary) => {
                let (route, versions) = canary.read(watched, names).await?;
                Ok((route, Versions::IngressCanary(Box::new(versions))))
            }
            Self::Gateway(gateway) => {
                let (route, object) = gateway.read(watched.client(), names).await?;
                Ok((route, Versions::Gateway(Box::new(object))))
            }
        }
    }

    /// Writes a route. Returns false if an object has changed since it was read.
    pub(super) async fn write(
        &self,
        client: &Client,
        names: &Names,
        versions: &Versions,
        next: &Route,
    ) -> Result<bool, ShiftError> {
        match (self, versions) {
            (Self::Service, Versions::Service(versions)) => {
                service::write(client, names, versions, next).await
            }
            (Self::IngressCanary(canary), Versions::IngressCanary(versions)) => {
                canary.write(client, names, versions, next).await
            }
            (Self::Gateway(gateway), Versions::Gateway(object)) => {
                gateway.write(client, names, object, next).await
            }
            _ => Ok(false),
        }
    }

    /// Whether an earlier change has left nothing behind.
    pub(super) fn is_settled(&self, versions: &Versions) -> bool {
        match versions {
            Versions::IngressCanary(versions) => versions.is_settled(),
            Versions::Service(_) | Versions::Gateway(_) => true,
        }
    }

    /// Waits until what serves the traffic has accepted the change, as far as it says so.
    pub(super) async fn accepted(
        &self,
        client: &Client,
        names: &Names,
        next: &Route,
    ) -> Result<(), EdgeError> {
        match self {
            Self::Service | Self::IngressCanary(_) => Ok(()),
            Self::Gateway(gateway) => gateway.accepted(client, names, next).await,
        }
    }

    /// Fails if what serves the traffic would not take a change.
    pub(super) async fn may_change(
        &self,
        client: &Client,
        names: &Names,
        route: &Route,
    ) -> Result<(), EdgeError> {
        match self {
            Self::Service | Self::IngressCanary(_) => Ok(()),
            Self::Gateway(gateway) => gateway.may_change(client, names, route).await,
        }
    }
}
