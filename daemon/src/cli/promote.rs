//! `cutover promote GROUP`

use clap::Args;
use cutover_core::name::in_path;

use super::steer::Ask;
use super::{CliError, Place};
use crate::control::GroupStatus;

#[derive(Debug, Args)]
pub(super) struct Promote {
    #[command(flatten)]
    ask: Ask,
}

impl Promote {
    pub(super) fn json(&self) -> bool {
        self.ask.json
    }

    /// Ends the step that is under way now, and not one that begins meanwhile.
    pub(super) async fn run(self, place: &Place) -> Result<u8, CliError> {
        let path = format!("/v1/groups/{}", in_path(&self.ask.group));
        let status: GroupStatus = place.client()?.get(&path).await?;
        let step = status.deployment.map_or(1, |deployment| deployment.step);
        self.ask.send(place, &format!("promote?step={step}"), "promoted").await
    }
}
