//! `cutover pause GROUP`

use clap::Args;

use super::{CliError, Place};

#[derive(Debug, Args)]
pub(super) struct Pause {
    /// The group
    group: String,
}

impl Pause {
    pub(super) async fn run(self, place: &Place) -> Result<u8, CliError> {
        super::steer::steer(place, &self.group, "pause", "paused").await
    }
}
