//! `cutover unfreeze GROUP|--all`

use std::io::{self, Write};

use clap::Args;

use super::freeze::Which;
use super::reason::Reason;
use super::{CliError, Place};
use crate::api::AskRequest;
use crate::control::Thawed;

#[derive(Debug, Args)]
pub(super) struct Unfreeze {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    reason: Reason,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Unfreeze {
    pub(super) fn json(&self) -> bool {
        self.json
    }

    pub(super) async fn run(self, place: &Place) -> Result<u8, CliError> {
        let client = place.client()?;
        let request = AskRequest { reason: self.reason.reason };
        let thawed: Thawed = client.post(&self.which.path("unfreeze"), &request).await?;
        let mut out = io::stdout().lock();
        if self.json {
            writeln!(out, "{}", super::with_exit_code(&thawed, 0))?;
            return Ok(0);
        }
        let what = match &self.which.group {
            Some(group) => format!("group \"{group}\""),
            None => "the freeze of all groups".to_owned(),
        };
        match (thawed.was_frozen, &self.which.group) {
            (true, Some(_)) => writeln!(out, "{what} is no longer frozen")?,
            (true, None) => writeln!(out, "{what} has ended")?,
            (false, Some(_)) => writeln!(out, "{what} was not frozen")?,
            (false, None) => writeln!(out, "no group was frozen")?,
        }
        Ok(0)
    }
}
