//! `cutover abort GROUP`

use std::io::{self, Write};

use clap::Args;
use cutover_core::deployment::Outcome;

use super::codes::Codes;
use super::follow::follow_all;
use super::reason::Reason;
use super::terminal::plain;
use super::{CliError, Place};
use crate::api::{Accepted, AskRequest};
use cutover_core::name::in_path;

#[derive(Debug, Args)]
pub(super) struct Abort {
    /// The group
    group: String,
    #[command(flatten)]
    reason: Reason,
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
        let accepted: Accepted =
            client.post(&format!("/v1/groups/{}/abort", in_path(&self.group)), &request).await?;
        if let Some(ended) = &accepted.ended {
            let mut out = io::stdout().lock();
            match self.json {
                true => writeln!(out, "{}", super::with_exit_code(&accepted, 0))?,
                false => writeln!(out, "{}", plain(ended))?,
            }
            return Ok(0);
        }
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
