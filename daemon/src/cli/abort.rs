//! `cutover abort GROUP`

use clap::Args;
use cutover_core::deployment::Outcome;

use super::follow::follow_all;
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
        let mut code = 0;
        let board = place.board(&client, self.json);
        for outcome in follow_all(&client, &accepted.all(&self.group), &board).await? {
            code = code.max(match outcome {
                // Completed: the abort has ended the command that stopped the old version.
                Outcome::Failed | Outcome::RolledBack | Outcome::Completed => 0,
                Outcome::Stuck => Outcome::Stuck.exit_code(),
            });
        }
        Ok(code)
    }
}
