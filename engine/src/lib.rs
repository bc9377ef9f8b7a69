//! The engine: drives one deployment to its end, whatever fails meanwhile.
//!
//! ```text
//! daemon, operator --- Driver --- cutover_core::deployment decides
//!                        |
//!        +---------+-----+----+-----------+
//!       Edge    Journal    Commands     Peers
//! ```
//!
//! All that is outside stands behind four traits: [`edge::Edge`] moves traffic, [`journal::Journal`] keeps states,
//! [`commands::Commands`] runs the operator's commands, [`peers::Peers`] asks servers. The engine knows no nginx, no database and
//! no configuration format. The module `scripted` has all four in memory, for tests.

#![forbid(unsafe_code)]

pub mod clock;
pub mod commands;
pub mod driver;
pub mod edge;
pub mod families;
pub mod journal;
pub mod metrics;
pub mod peers;
pub mod policy;
pub mod prober;
#[cfg(any(test, feature = "scripted"))]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a wrong script fails its test")]
pub mod scripted;
pub mod shifting;
pub mod world;
