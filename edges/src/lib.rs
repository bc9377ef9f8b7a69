//! Edges on hosts: what moves the traffic there, behind the engine's trait [`Edge`](cutover_engine::edge::Edge).
//!
//! - [`module`]: nginx with Cutover's module, by its admin API.
//! - [`http`]: one HTTP/1.1 request over a fresh connection, to the admin API and to servers of upstreams.

#![forbid(unsafe_code)]

pub mod http;
pub mod module;
