//! What the upstream of a slot can do by itself keeps working under switches: methods, limits, names that are resolved anew,
//! TLS. With every answer checked.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod dns;
mod limits;
mod methods;
mod resolve;
mod tls;
