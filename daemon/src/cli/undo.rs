//! The requests of `rollback` and `abort`: sent, and followed to the end of what they ask for.

use std::io::{self, Write};

use clap::Args;
use cutover_core::deployment::Outcome;
use cutover_core::name::in_path;

use super::codes::Codes;
use super::follow::follow_all;
use super::reason::Reason;
use super::terminal::plain;
use super::waiting::Wait;
use super::{CliError, Place};
use crate::api::{Accepted, AskRequest};

/// The options of these verbs.
#[derive(Debug, Args)]
pub(super) struct Undo {
    /// The group
    group: String,
    #[command(flatten)]
    reason: Reason,
    #[command(flatten)]
    wait: Wait,
    /// Print one JSON event per line
    #[arg(long)]
    pub(super) json: bool,
}

impl Undo {
    /// Sends the request and follows the deployment, and those that move together with it, to their ends. `code`: the exit code of
    /// each outcome, of which the worst one is returned.
    pub(super) async fn send(
        self,
        place: &Place,
        verb: &str,
        code: fn(Outcome) -> u8,
    ) -> Result<u8, CliError> {
        let client = place.client()?;
        let request = AskRequest { reason: self.reason.reason };
        let path = format!("/v1/groups/{}/{verb}", in_path(&self.group));
        // It takes no place in the line: who wants back comes before those who want to deploy.
        let ask = async |_| client.post::<Accepted>(&path, &request).await;
        let accepted = self.wait.until_free(&client, ask).await?;
        if let Some(ended) = &accepted.ended {
            let mut out = io::stdout().lock();
            match self.json {
                true => writeln!(out, "{}", super::with_exit_code(&accepted, 0))?,
                false => writeln!(out, "{}", plain(ended))?,
            }
            return Ok(0);
        }
        let board = place.board(&client, self.json.then(|| Codes::new(code)));
        let outcomes = follow_all(&client, &accepted.all(&self.group), &board).await?;
        Ok(outcomes.into_iter().map(code).max().unwrap_or(0))
    }
}
