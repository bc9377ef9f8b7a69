//! Several daemons with a store in etcd: one leads, and another one goes on when it dies.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod members;
mod takeover;
