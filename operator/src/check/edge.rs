//! What each edge needs: the object that carries the route, as the operator will read it.

use super::candidate::Candidate;
use super::finding::Finding;
use super::seen::Seen;
use super::source::Source;
use crate::resource::EdgeSpec;

mod argo_rollouts;
mod gateway;
mod ingress_canary;
mod service;

/// Judges the edge of a BlueGreen.
pub(super) async fn check(source: &Source, candidate: &Candidate, seen: &Seen, findings: &mut Vec<Finding>) {
    match &candidate.spec().edge {
        EdgeSpec::Service {} => service::check(candidate, seen, findings),
        EdgeSpec::IngressCanary(spec) => {
            service::check(candidate, seen, findings);
            ingress_canary::check(candidate, &spec.ingress, seen, findings);
        }
        EdgeSpec::Gateway(spec) => gateway::check(source, candidate, &spec.route, findings).await,
        EdgeSpec::ArgoRollouts(spec) => {
            argo_rollouts::check(source, candidate, &spec.rollout, findings).await
        }
        EdgeSpec::IngressNginx(_) => {}
    }
}
