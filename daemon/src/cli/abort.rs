//! `cutover abort GROUP`

use clap::Args;
use cutover_core::deployment::Outcome;

use super::follow::follow;
use super::{CliError, Place};
use crate::api::Accepted;
use cutover_core::name::in_path;

#[derive(Debug, Args)]
pub(super) struct Abort {
    /// The group
    group: String,
    /// Print one JSON event per line
    #[arg(long)]
    json: bool,
}

impl Abort {
    pub(super) async fn run(self, place: &Place) -> Result<u8, CliError> {
        let client = place.client()?;
        let accepted: Accepted =
            client.post(&format!("/v1/groups/{}/abort", in_path(&self.group)), &()).await?;
        match follow(&client, (&self.group, &accepted.deployment), accepted.after, self.json).await? {
            // Completed: the abort has ended the command that stopped the old version.
            Outcome::Failed | Outcome::RolledBack | Outcome::Completed => Ok(0),
            Outcome::Stuck => Ok(Outcome::Stuck.exit_code()),
        }
    }
}
