//! Blue-green deployments on Kubernetes: the operator.
//!
//! ```text
//! BlueGreen (spec) -> controller -> engine -> world
//!                        |            |         +-- edge       Services, Ingresses, HTTPRoutes
//!                        |            |         +-- workload   Deployments of the slots
//!                        |            +-- journal
//!                        +-- ledger: the status, fenced by an epoch
//! ```
//!
//! What a deployment does is decided in `cutover-core` and driven by `cutover-engine`, as on hosts.

#![forbid(unsafe_code)]

pub mod agent;
pub mod check;
pub mod clash;
pub mod client;
pub mod conditions;
pub mod controller;
pub mod crd;
pub mod edge;
pub mod jobs;
pub mod journal;
pub mod leader;
pub mod ledger;
pub mod metrics;
pub mod policy;
pub mod resource;
pub mod running;
pub mod serve;
pub mod setup;
pub mod verdicts;
pub mod words;
pub mod workload;
pub mod world;
