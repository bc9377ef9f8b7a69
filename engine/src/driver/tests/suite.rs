//! The tests that every journal must pass, over the journal in memory.

use cutover_core::deployment::State;

use super::*;
use crate::scripted::{self, Place};

struct Memory(MemoryJournal);

impl Place for Memory {
    type Journal = MemoryJournal;

    fn open(&self) -> MemoryJournal {
        self.0.clone()
    }

    async fn begin(&self, journal: &MemoryJournal, deployment: Deployment, state: &State) {
        journal.begin(deployment, state.clone());
    }
}

#[tokio::test(start_paused = true)]
async fn killed_at_every_record() {
    scripted::killed_at_every_record(|| Memory(MemoryJournal::default())).await;
}

#[tokio::test(start_paused = true)]
async fn killed_again_and_again() {
    scripted::killed_again_and_again(|| Memory(MemoryJournal::default())).await;
}

#[tokio::test(start_paused = true)]
async fn everything_fails_in_turn() {
    scripted::everything_fails_in_turn(|| Memory(MemoryJournal::default())).await;
}

#[tokio::test(start_paused = true)]
async fn a_route_that_somebody_else_moves_is_not_fought_over() {
    scripted::moved_by_somebody_else(|| Memory(MemoryJournal::default())).await;
}
