//! `cutover rollback GROUP`

use clap::Args;
use cutover_core::deployment::Outcome;

use super::follow::follow;
use super::{CliError, Place};
use crate::api::Accepted;
use cutover_core::name::in_path;

#[derive(Debug, Args)]
pub(super) struct Rollback {
    /// The group
    group: String,
    /// Print one JSON event per line
    #[arg(long)]
    json: bool,
}

impl Rollback {
    pub(super) async fn run(self, place: &Place) -> Result<u8, CliError> {
        let client = place.client()?;
        let accepted: Accepted =
            client.post(&format!("/v1/groups/{}/rollback", in_path(&self.group)), &()).await?;
        match follow(&client, (&self.group, &accepted.deployment), accepted.after, self.json).await? {
            Outcome::RolledBack => Ok(0),
            other => Ok(other.exit_code().max(1)),
        }
    }
}
