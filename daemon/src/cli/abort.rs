//! `cutover abort GROUP`

use clap::Args;
use cutover_core::deployment::Outcome;

use super::undo::Undo;
use super::{CliError, Place};

#[derive(Debug, Args)]
pub(super) struct Abort {
    #[command(flatten)]
    undo: Undo,
}

impl Abort {
    pub(super) fn json(&self) -> bool {
        self.undo.json
    }

    pub(super) async fn run(self, place: &Place) -> Result<u8, CliError> {
        self.undo.send(place, "abort", code).await
    }
}

fn code(outcome: Outcome) -> u8 {
    match outcome {
        // Completed: the abort has ended the command that stopped the old version.
        Outcome::Failed | Outcome::RolledBack | Outcome::Completed => 0,
        Outcome::Stuck => Outcome::Stuck.exit_code(),
    }
}
