//! Cutover's daemon and command line: blue-green deployment with automatic rollback for nginx.
//!
//! ```text
//! cli --- unix socket --- api --- control --- driver --- world --- nginx module, peers, commands
//!                                    |           |
//!                                    +-- journal-+
//! ```
//!
//! What is decided, `cutover_core::deployment` decides; this crate does it and survives being killed amid it. The main
//! entry points for tests and embedding are [`serve::serve`], [`control::Control`] and [`cli::Arguments`].

#![forbid(unsafe_code)]

pub mod api;
pub mod check;
pub mod cli;
pub mod clock;
pub mod command;
pub mod config;
pub mod control;
pub mod driver;
pub mod edge;
pub mod families;
pub mod http;
pub mod journal;
pub mod metrics;
pub mod probe;
#[cfg(test)]
mod scripted;
pub mod serve;
pub mod world;
