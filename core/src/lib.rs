//! What Cutover decides, as pure functions and plain data.
//!
//! Nothing here touches nginx, a socket, a file or a clock: the nginx module and the daemon bring those. That is what
//! makes each rule below testable by a table.

#![forbid(unsafe_code)]

pub mod api;
pub mod counters;
pub mod deployment;
pub mod event;
pub mod exposition;
pub mod flush;
pub mod fraction;
pub mod guard;
pub mod latency;
pub mod migration;
pub mod name;
pub mod placeholder;
pub mod probe;
pub mod rates;
pub mod route;
#[cfg(feature = "schema")]
mod schema;
mod sealed;
pub mod shard;
pub mod shell;
pub mod slot;
pub mod smoke;
pub mod split;
pub mod state_file;
mod sync;
pub mod token;
pub mod trial;
pub mod verdict;
