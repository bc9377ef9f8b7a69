//! Cutover's daemon and command line: blue-green deployment with automatic rollback for nginx.
//!
//! ```text
//! cli --- unix socket --- api --- control --- engine's driver --- live --- nginx module, peers, commands
//!                                    |                |
//!                                    +--- journal -----+
//! ```
//!
//! `cutover_core::deployment` decides, `cutover_engine` drives a deployment, and this crate gives it a configuration, a journal on
//! disk and an operator. The main
//! entry points for tests and embedding are [`serve::serve`], [`control::Control`] and [`cli::Arguments`].

#![forbid(unsafe_code)]

pub mod api;
pub mod check;
pub mod cli;
pub mod command;
pub mod config;
pub mod control;
pub mod journal;
pub mod live;
pub mod metrics;
pub mod serve;
