//! `cutover run GROUP COMMAND`

use std::io::{self, Write};

use clap::Args;

use super::reason::Reason;
use super::waiting::Wait;
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
    #[command(flatten)]
    reason: Reason,
    #[command(flatten)]
    wait: Wait,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Run {
    pub(super) fn json(&self) -> bool {
        self.json
    }

    pub(super) async fn run(self, place: &Place) -> Result<u8, CliError> {
        let client = place.client()?;
        let path = format!("/v1/groups/{}/run", in_path(&self.group));
        let run = async |waiting| {
            let (deployment, reason) = (self.deployment.clone(), self.reason.reason.clone());
            let request = RunRequest { command: self.command, deployment, reason, waiting };
            client.post_and_wait::<Accepted>(&path, &request).await
        };
        let done = self.wait.until_free(&client, run).await?;
        let mut out = io::stdout().lock();
        if self.json {
            writeln!(out, "{}", super::with_exit_code(&done, 0))?;
            return Ok(0);
        }
        if self.command == Rerun::Switched {
            writeln!(out, "switched of group \"{}\" succeeded", self.group)?;
            return Ok(0);
        }
        writeln!(out, "{} of deployment {} succeeded", self.command.as_str(), done.deployment)?;
        Ok(0)
    }
}
