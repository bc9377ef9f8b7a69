//! Edges on hosts: implementations of the engine's trait [`Edge`].
//!
//! - [`module`]: nginx with Cutover's module, through its admin API.
//! - [`mod@file`]: stock nginx, by an upstream file and a reload.
//! - [`host`]: any of them.
//! - [`prometheus`]: the values of signals.
//! - [`http`]: the HTTP/1.1 client for the admin API and the servers of upstreams.
//! - [`tls`]: the TLS connections of that client, with certificates from files.
//!
//! [`Edge`]: cutover_engine::edge::Edge

#![forbid(unsafe_code)]

pub mod file;
pub mod host;
pub mod http;
pub mod module;
pub mod peers;
pub mod prometheus;
pub mod tls;
