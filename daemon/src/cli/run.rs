//! `cutover run GROUP COMMAND`

use std::io::{self, Write};

use clap::Args;

use super::{CliError, Place};
use crate::api::{Accepted, RunRequest};
use crate::control::Rerun;
use cutover_core::name::in_path;

#[derive(Debug, Args)]
pub(super) struct Run {
    /// The group
    group: String,
    /// The command of its last deployment, or of the one that put the version into the active slot
    command: Rerun,
    /// Use this earlier deployment instead of the last, to revert a migration that it left in the database
    #[arg(long, value_name = "ID")]
    deployment: Option<String>,
}

impl Run {
    pub(super) async fn run(self, place: &Place) -> Result<u8, CliError> {
        let client = place.client()?;
        let request = RunRequest { command: self.command, deployment: self.deployment };
        let done: Accepted =
            client.post_and_wait(&format!("/v1/groups/{}/run", in_path(&self.group)), &request).await?;
        if self.command == Rerun::Switched {
            writeln!(io::stdout(), "switched of group \"{}\" succeeded", self.group)?;
            return Ok(0);
        }
        writeln!(io::stdout(), "{} of deployment {} succeeded", self.command.as_str(), done.deployment)?;
        Ok(0)
    }
}
