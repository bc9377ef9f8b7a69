//! A world in memory for tests: an edge, servers and commands, and a journal. The world counts requests, has a database and slots,
//! fails where a test demands it, and records violations of the promises.

mod commands;
mod databases;
mod edge;
mod full;
mod journal;
mod peers;
mod scene;
mod side_by_side;
mod signals;
mod suite;
mod usual;
mod world;

pub use full::FullJournal;
pub use journal::{Cut, MemoryJournal};
pub use scene::{Away, Fault, Hook, Said, Scene};
pub use side_by_side::{EdgeOfAll, SideBySide};
pub use suite::{
    Place, everything_fails_in_turn, killed_again_and_again, killed_at_every_record, moved_by_somebody_else,
};
pub use usual::{deployment, in_steps, peer, policy};
pub use world::{Scripted, ScriptedEdge};

/// A number of failures that no test reaches.
pub const ALWAYS: u32 = u32::MAX;
