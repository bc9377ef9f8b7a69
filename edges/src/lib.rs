//! Edges on hosts: implementations of the engine's trait [`Edge`](cutover_engine::edge::Edge).
//!
//! - [`module`]: nginx with Cutover's module, through its admin API.
//! - [`http`]: the HTTP/1.1 client for the admin API and the servers of upstreams.
//! - [`tls`]: the TLS connections of that client, with certificates from files.

#![forbid(unsafe_code)]

pub mod http;
pub mod module;
pub mod tls;
