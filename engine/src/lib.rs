//! The engine drives one deployment to its end.
//!
//! ```text
//! daemon, operator --- Driver --- cutover_core::deployment decides
//!                        |
//!        +---------+-----+----+-----------+
//!       Fleet   Journal    Commands     Peers
//!         |
//!       Edge, one or several
//! ```
//!
//! The engine reaches everything outside through six traits: [`edge::Edge`] moves traffic, [`journal::Journal`] keeps states,
//! [`commands::Commands`] runs the operator's commands, [`peers::Peers`] sends requests to servers,
//! [`signals::Signals`] asks for values of other systems, and [`databases::Databases`] applies and reverts migrations. The
//! engine does not
//! depend on nginx, a database or a configuration format. The module `scripted` implements all of them in memory for tests.

#![forbid(unsafe_code)]

pub mod asking;
pub mod capacity;
pub mod clock;
pub mod commands;
pub mod companions;
pub mod databases;
pub mod driver;
pub mod edge;
pub mod families;
pub mod fencing;
pub mod figures;
pub mod fleet;
pub mod foreseen;
pub mod journal;
pub mod kept;
pub mod metrics;
pub mod peers;
pub mod policy;
pub mod prober;
#[cfg(any(test, feature = "scripted"))]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a wrong script fails its test")]
pub mod scripted;
pub mod shifting;
pub mod signals;
pub mod standing;
pub mod versions;
pub mod world;
