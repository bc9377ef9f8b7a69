//! `cutover abort GROUP`

use clap::Args;
use cutover_core::deployment::Outcome;

use super::codes::Codes;
use super::follow::follow_all;
use super::reason::Reason;
use super::waiting::Wait;
use super::{CliError, Place};
use crate::api::{Accepted, AskRequest};
use cutover_core::name::in_path;

#[derive(Debug, Args)]
pub(super) struct Abort {
    /// The group
    group: String,
    #[command(flatten)]
    reason: Reason,
    #[command(flatten)]
    wait: Wait,
    /// Print one JSON event per line
    #[arg(long)]
    json: bool,
}

impl Abort {
    pub(super) fn json(&self) -> bool {
        self.json
    }

    pub(super) async fn run(self, place: &Place) -> Result<u8, CliError> {
        let client = place.client()?;
        let request = AskRequest { reason: self.reason.reason };
        let path = format!("/v1/groups/{}/abort", in_path(&self.group));
        // It takes no place in the line: who wants back comes before those who want to deploy.
        let ask = async |_| client.post::<Accepted>(&path, &request).await;
        let accepted = self.wait.until_free(&client, ask).await?;
        let codes = self.json.then(|| Codes::new(code));
        let board = place.board(&client, codes);
        let outcomes = follow_all(&client, &accepted.all(&self.group), &board).await?;
        Ok(outcomes.into_iter().map(code).max().unwrap_or(0))
    }
}

fn code(outcome: Outcome) -> u8 {
    match outcome {
        // Completed: the abort has ended the command that stopped the old version.
        Outcome::Failed | Outcome::RolledBack | Outcome::Completed => 0,
        Outcome::Stuck => Outcome::Stuck.exit_code(),
    }
}
