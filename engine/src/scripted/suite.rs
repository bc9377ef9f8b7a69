//! Tests that every implementation of [`Journal`](crate::journal::Journal) must pass.

mod faults;
mod kills;
mod place;

pub use faults::{everything_fails_in_turn, moved_by_somebody_else};
pub use kills::{killed_again_and_again, killed_at_every_record};
pub use place::Place;
