//! `cutover promote GROUP`

use clap::Args;
use cutover_core::name::in_path;

use super::{CliError, Place};
use crate::control::GroupStatus;

#[derive(Debug, Args)]
pub(super) struct Promote {
    /// The group
    group: String,
}

impl Promote {
    /// Ends the step that is under way now, and not one that begins meanwhile.
    pub(super) async fn run(self, place: &Place) -> Result<u8, CliError> {
        let path = format!("/v1/groups/{}", in_path(&self.group));
        let status: GroupStatus = place.client()?.get(&path).await?;
        let step = status.deployment.map_or(1, |deployment| deployment.step);
        super::steer::steer(place, &self.group, &format!("promote?step={step}"), "promoted").await
    }
}
