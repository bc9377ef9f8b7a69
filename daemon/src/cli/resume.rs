//! `cutover resume GROUP`

use clap::Args;

use super::{CliError, Place};

#[derive(Debug, Args)]
pub(super) struct Resume {
    /// The group
    group: String,
}

impl Resume {
    pub(super) async fn run(self, place: &Place) -> Result<u8, CliError> {
        super::steer::steer(place, &self.group, "resume", "resumed").await
    }
}
