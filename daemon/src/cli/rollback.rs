//! `cutover rollback GROUP`

use clap::Args;
use cutover_core::deployment::Outcome;

use super::follow::follow_all;
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
        let mut code = 0;
        let board = place.board(&client, self.json);
        for outcome in follow_all(&client, &accepted.all(&self.group), &board).await? {
            code = code.max(match outcome {
                Outcome::RolledBack => 0,
                other => other.exit_code().max(1),
            });
        }
        Ok(code)
    }
}
