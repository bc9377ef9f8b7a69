//! A real Kubernetes without kubelets: etcd, the API server, the controllers of Deployments and endpoints, and kwok, which reports
//! that nodes are ready and pods run.
//!
//! ```text
//!  a network namespace of the cluster
//!  etcd 2379   kube-apiserver 6443   kube-controller-manager   kwok
//!  10.244.0.0/16 on lo: the addresses of pods, where a test lets its backends listen
//!  the threads of the tests, and what they start
//! ```
//!
//! `scripts/fetch-kubernetes` builds the programs. There is no scheduler: a pod names its node, [`NODE`]. Nothing is started for a
//! pod: a test starts what shall answer at the pod's address. Services have no reachable address of their own.

pub mod agent;
mod argo_rollouts;
mod audit;
mod chart;
mod cluster;
mod control_plane;
mod credentials;
pub mod front;
mod ingress_nginx;
mod job_stages;
pub mod jobs;
mod kubectl;
mod kubelet;
mod machine;
mod namespace;
pub mod operator;
mod patience;
mod programs;
mod shop;
pub mod timeline;
mod traefik;
mod watch;

pub use agent::Agent;
pub use argo_rollouts::ArgoRollouts;
pub use audit::{Right, Used};
pub use chart::{Chart, documents};
pub use cluster::Cluster;
pub use credentials::Account;
pub use front::Front;
pub use ingress_nginx::{IngressNginx, Snippets, TOKEN};
pub use kubectl::Kubectl;
pub use kubelet::{Container, Kubelet};
pub use machine::{Machine, Server};
pub use namespace::{Namespace, Pod};
pub use patience::{PATIENCE, until};
pub use programs::{fetched, helm};
pub use shop::Shop;
pub use traefik::Traefik;
pub use watch::{Seen, StatusWatch};

/// The node on which pods run.
pub const NODE: &str = "node-1";
