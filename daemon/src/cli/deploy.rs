//! `cutover deploy GROUP`

use std::io::{self, Write};

use clap::Args;

use super::follow::follow;
use super::{CliError, Place};
use crate::api::{Accepted, DeployRequest};
use cutover_core::name::in_path;

#[derive(Debug, Args)]
pub(super) struct Deploy {
    /// The group, as in [group.NAME]
    group: String,
    /// The version; the commands receive it as CUTOVER_VERSION [default: an empty one]
    #[arg(long, default_value = "", hide_default_value = true)]
    version: String,
    /// The slot to deploy to [default: one that has no traffic]
    #[arg(long, value_name = "SLOT")]
    to: Option<String>,
    /// Deploy the version although it was taken back a short time ago
    #[arg(long)]
    again: bool,
    /// Return as soon as the deployment has begun
    #[arg(long)]
    detach: bool,
    /// Print one JSON event per line
    #[arg(long)]
    json: bool,
}

impl Deploy {
    pub(super) async fn run(self, place: &Place) -> Result<u8, CliError> {
        let client = place.client()?;
        let request = DeployRequest { version: self.version, to: self.to, again: self.again };
        let path = format!("/v1/groups/{}/deployments", in_path(&self.group));
        let accepted: Accepted = client.post(&path, &request).await?;
        if self.detach {
            let mut out = io::stdout().lock();
            match self.json {
                true => writeln!(out, "{}", serde_json::json!({"deployment": accepted.deployment}))?,
                false => writeln!(out, "{}", accepted.deployment)?,
            }
            return Ok(0);
        }
        let outcome = follow(&client, (&self.group, &accepted.deployment), accepted.after, self.json).await?;
        Ok(outcome.exit_code())
    }
}
