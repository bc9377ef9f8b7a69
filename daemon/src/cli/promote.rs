//! `cutover promote GROUP`

use clap::Args;

use super::{CliError, Place};

#[derive(Debug, Args)]
pub(super) struct Promote {
    /// The group
    group: String,
}

impl Promote {
    pub(super) async fn run(self, place: &Place) -> Result<u8, CliError> {
        super::steer::steer(place, &self.group, "promote", "promoted").await
    }
}
