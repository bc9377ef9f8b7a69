//! What moves traffic in a cluster: objects of the API that say which slot gets it.
//!
//! ```text
//! ClusterEdge
//!   ObjectEdge         reads and moves a route with compare-and-swap; one for most kinds
//!     Carrier          which objects carry the route of one kind, and how
//!   IngressNginxEdge   the route is in the status, and agents give it to nginx
//! ```
//!
//! The route of an `ObjectEdge` has a generation, in an annotation of the object that carries it. A change by somebody else leaves
//! the annotation as it was, so the route and the annotation differ, and so does the revision.

pub mod argo_rollouts;
mod carrier;
mod cluster;
mod endpoints;
mod errors;
pub mod gateway;
pub mod ingress_canary;
pub mod ingress_nginx;
mod names;
mod object;
mod route;
mod service;
mod watched;

pub use cluster::{ClusterEdge, abilities};
pub use endpoints::{Endpoints, backends};
pub use errors::{API, is_final, told};
pub use ingress_nginx::AGENT_PORT;
pub use names::{MANAGED_BY, MANAGER, Names, VERSION};
pub use object::ObjectEdge;
pub use route::ANNOTATION as ROUTE;
pub use watched::Watched;
