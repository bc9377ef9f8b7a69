//! Deployments over stock nginx: an upstream file and a reload.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access_log;
mod check;
mod deploy;
mod faults;
mod full_disk;
mod killed;
mod old_workers;
mod page;
mod shares;
mod to_module;
