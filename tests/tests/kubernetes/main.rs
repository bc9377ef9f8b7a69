//! Tests on a real Kubernetes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod argo_rollouts;
mod charts;
mod check;
mod edges;
mod gateway;
mod gitops;
mod harness;
mod ingress_canary;
mod ingress_nginx;
mod killed;
mod metrics;
mod operator;
mod other_controllers;
mod pages;
mod policy;
mod roles;
mod scale;
mod signals;
mod verdicts;
