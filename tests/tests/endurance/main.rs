//! Promise 3 over a long time: nothing piles up over many reloads and trials, an upgrade can be taken back, and whoever is killed amid a
//! switch, the last acknowledged slot has the traffic; also when a worker has nothing left. All under a load that checks every
//! answer.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod exhaustion;
mod kills;
mod reloads;
mod trials;
mod upgrade_and_back;
