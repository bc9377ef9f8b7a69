//! Tests of the module in real nginx: its configuration, its admin API, and the requests of users. The daemon is not part of them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod admin_api;
mod admin_api_examples;
mod backend_names;
mod balancing;
mod config_errors;
mod counters;
mod counting_traps;
mod detours;
mod door;
mod endurance;
mod groups;
mod harness;
mod ipv6;
mod locations;
mod measures;
mod memcheck;
mod neighbours;
mod one_request;
mod protocols;
mod reasons;
mod rescue;
mod slow_clients;
mod slow_disk;
mod split;
mod state_file;
mod switch_under_load;
mod trial;
mod trial_clock;
mod trial_state;
mod upstreams;
