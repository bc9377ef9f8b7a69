//! `cutover resume GROUP`

use clap::Args;

use super::steer::Ask;
use super::{CliError, Place};

#[derive(Debug, Args)]
pub(super) struct Resume {
    #[command(flatten)]
    ask: Ask,
}

impl Resume {
    pub(super) fn json(&self) -> bool {
        self.ask.json
    }

    pub(super) async fn run(self, place: &Place) -> Result<u8, CliError> {
        self.ask.send(place, "resume", "resumed").await
    }
}
