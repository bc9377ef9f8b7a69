//! Groups of every shape: with shared peers and upstreams, with one slot and with eight, with the longest names; and nginx
//! without a group.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod daemon;
mod names;
mod shared;
mod sizes;
mod unused;
