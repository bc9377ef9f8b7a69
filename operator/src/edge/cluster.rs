//! Any edge in a cluster.

use std::sync::Arc;
use std::time::Duration;

use cutover_core::api::Group;
use cutover_core::deployment::Revision;
use cutover_engine::edge::{Abilities, Edge, EdgeError, Look, Shift, ShiftError};

use super::argo_rollouts::{self, RolloutEdge};
use super::carrier::{Carrier, Other};
use super::ingress_nginx::{self, IngressNginxEdge};
use super::{Names, ObjectEdge, Watched};
use crate::ledger::Ledger;
use crate::resource::EdgeSpec;

/// An edge in a cluster.
pub enum ClusterEdge {
    /// Objects of the API carry the route.
    Object(Box<ObjectEdge>),
    /// The status of the `BlueGreen` carries it, and agents give it to ingress-nginx.
    IngressNginx(Box<IngressNginxEdge>),
    /// The controller of Argo Rollouts moves the traffic.
    ArgoRollouts(RolloutEdge),
}

/// What the edge of a spec can do.
pub fn abilities(spec: &EdgeSpec) -> Abilities {
    match Carrier::new(spec) {
        Ok(carrier) => carrier.abilities(),
        Err(Other::ArgoRollouts(_)) => argo_rollouts::ABILITIES,
        Err(Other::IngressNginx(_)) => ingress_nginx::ABILITIES,
    }
}

/// Calls the same method of the edge inside.
macro_rules! inside {
    ($self:ident, $edge:ident => $call:expr) => {
        match $self {
            ClusterEdge::Object($edge) => $call,
            ClusterEdge::IngressNginx($edge) => $call,
            ClusterEdge::ArgoRollouts($edge) => $call,
        }
    };
}

impl ClusterEdge {
    /// The edge of a `BlueGreen`.
    pub fn new(watched: &Arc<Watched>, names: Names, spec: &EdgeSpec, ledger: &Arc<Ledger>) -> Self {
        match Carrier::new(spec) {
            Ok(carrier) => Self::Object(Box::new(ObjectEdge::new(Arc::clone(watched), names, carrier))),
            Err(Other::ArgoRollouts(spec)) => {
                Self::ArgoRollouts(RolloutEdge::new(Arc::clone(watched), names, spec))
            }
            Err(Other::IngressNginx(spec)) => {
                let edge = IngressNginxEdge::new(Arc::clone(watched), names, spec, Arc::clone(ledger));
                Self::IngressNginx(Box::new(edge))
            }
        }
    }

    /// Why a part of the edge did not have the route at the last look, in one line. Only agents can lag.
    pub fn lagging(&self) -> Option<String> {
        match self {
            Self::IngressNginx(edge) => edge.lagging(),
            Self::Object(_) | Self::ArgoRollouts(_) => None,
        }
    }

    /// Waits until what carries the route has the servers of a slot that are there, and no others.
    pub async fn until_given(&self, slot: &str) -> Result<(), EdgeError> {
        match self {
            Self::IngressNginx(edge) => edge.until_given(slot).await,
            // The servers of the others are the endpoints themselves.
            _ => Ok(()),
        }
    }

    /// Waits until the last change of the route is this long ago: those who give requests to Pods learn of it with delay.
    pub async fn settle(&self, after: Duration) -> Result<(), EdgeError> {
        inside!(self, edge => edge.settle(after).await)
    }
}

impl Edge for ClusterEdge {
    fn name(&self) -> &str {
        inside!(self, edge => edge.name())
    }

    fn abilities(&self) -> Abilities {
        inside!(self, edge => edge.abilities())
    }

    async fn groups(&self) -> Result<Vec<Group>, EdgeError> {
        inside!(self, edge => edge.groups().await)
    }

    async fn look(&self, group: &str) -> Result<Look, EdgeError> {
        inside!(self, edge => edge.look(group).await)
    }

    async fn stand_by(&self, group: &str, slot: &str) -> Result<(), EdgeError> {
        inside!(self, edge => edge.stand_by(group, slot).await)
    }

    async fn shift(&self, group: &str, shift: &Shift, expected: &Revision) -> Result<Look, ShiftError> {
        inside!(self, edge => edge.shift(group, shift, expected).await)
    }

    async fn renew(&self, group: &str, lease: Duration, expected: &Revision) -> Result<Look, ShiftError> {
        inside!(self, edge => edge.renew(group, lease, expected).await)
    }

    async fn confirm(&self, group: &str, reason: &str, expected: &Revision) -> Result<Look, ShiftError> {
        inside!(self, edge => edge.confirm(group, reason, expected).await)
    }
}
