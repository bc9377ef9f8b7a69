//! Tests of the daemon and the command line, as their users start them, over real edges.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod active_slot;
mod alerts;
mod broken_tls;
mod busy;
mod capacity;
mod check;
mod checks;
mod cleanup;
mod command_output;
mod daemon_killed;
mod daemon_over_tcp;
mod daemon_over_tls;
mod daemon_stopped;
mod databases;
mod deploy;
mod file_edge;
mod freezing;
mod hooks;
mod journal_killed;
mod kept;
mod names_of_groups;
mod on_trial;
mod other_hosts;
mod other_hosts_page;
mod over_ssh;
mod pages;
mod people;
mod previews;
mod proven_version;
mod quiet_site;
mod recipes;
mod reloading;
mod retry;
mod screens;
mod sessions;
mod set_clock;
mod several_daemons;
mod several_hosts;
mod shell;
mod signals;
mod steps;
mod steps_of_users;
mod texts;
mod together;
mod untouched;
mod warmup;
mod way_back;
mod ways_out;
mod without_daemon;
