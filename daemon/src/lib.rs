//! Cutover's daemon and command line: blue-green deployment with automatic rollback for nginx.
//!
//! ```text
//! cli --- unix socket --- api --- control --- engine's driver --- live --- nginx module, peers, commands
//!                                    |                |
//!                                    +--- journal -----+
//! ```
//!
//! `cutover_core::deployment` decides, `cutover_engine` drives a deployment, and this crate adds the configuration, the journal
//! on disk and the control API. The entry points for tests and embedding are [`serve::serve`], [`control::Control`] and
//! [`cli::Arguments`].

#![forbid(unsafe_code)]

pub mod api;
pub mod check;
pub mod cli;
pub mod command;
pub mod config;
pub mod control;
mod figures;
pub mod journal;
pub mod led;
pub mod live;
pub mod metrics;
mod migrations;
pub mod peers;
pub mod serve;
mod steady;
