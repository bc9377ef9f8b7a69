//! Deployments over stock nginx: an upstream file and a reload.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod deploy;
