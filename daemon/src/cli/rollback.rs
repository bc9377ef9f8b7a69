//! `cutover rollback GROUP`

use clap::Args;
use cutover_core::deployment::Outcome;

use super::undo::Undo;
use super::{CliError, Place};

#[derive(Debug, Args)]
pub(super) struct Rollback {
    #[command(flatten)]
    undo: Undo,
}

impl Rollback {
    pub(super) fn json(&self) -> bool {
        self.undo.json
    }

    pub(super) async fn run(self, place: &Place) -> Result<u8, CliError> {
        self.undo.send(place, "rollback", code).await
    }
}

fn code(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::RolledBack => 0,
        other => other.exit_code().max(1),
    }
}
