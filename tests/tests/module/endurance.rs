//! Promise 3 over a long time: many reloads and trials leak nothing, an upgrade can be taken back, and after a kill during a
//! switch the last acknowledged slot has the traffic, also when a worker has run out of descriptors or threads. A load checks
//! every answer.

mod exhaustion;
mod kills;
mod reloads;
mod trials;
mod upgrade_and_back;
