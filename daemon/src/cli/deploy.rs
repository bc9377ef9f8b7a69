//! `cutover deploy GROUP..`

use std::io::{self, Write};

use clap::Args;

use super::client::Client;
use super::codes::Codes;
use super::follow::follow_all;
use super::reason::Reason;
use super::waiting::Wait;
use super::{CliError, Place};
use crate::api::{Accepted, Begun, DeployRequest, OfGroup, TogetherRequest};
use cutover_core::deployment::Outcome;
use cutover_core::name::in_path;

#[derive(Debug, Args)]
pub(super) struct Deploy {
    /// The group, as in [group.NAME]; several move together, all or none
    #[arg(required = true, value_name = "GROUP")]
    groups: Vec<String>,
    /// The version; the commands receive it as CUTOVER_VERSION [default: an empty one]
    #[arg(long, default_value = "", hide_default_value = true)]
    version: String,
    /// The slot to deploy to [default: one that has no traffic]
    #[arg(long, value_name = "SLOT")]
    to: Option<String>,
    /// Deploy the version although it was taken back a short time ago
    #[arg(long)]
    again: bool,
    #[command(flatten)]
    reason: Reason,
    #[command(flatten)]
    wait: Wait,
    /// Return as soon as the deployment has begun
    #[arg(long)]
    detach: bool,
    /// Print one JSON event per line
    #[arg(long)]
    json: bool,
}

impl Deploy {
    pub(super) fn json(&self) -> bool {
        self.json
    }

    pub(super) async fn run(self, place: &Place) -> Result<u8, CliError> {
        let client = place.client()?;
        let (detach, json) = (self.detach, self.json);
        let begun = self.begin(&client).await?;
        if detach {
            let mut out = io::stdout().lock();
            for OfGroup { deployment, .. } in &begun {
                match json {
                    true => {
                        writeln!(out, "{}", serde_json::json!({"deployment": deployment, "exit_code": 0}))?
                    }
                    false => writeln!(out, "{deployment}")?,
                }
            }
            return Ok(0);
        }
        let board = place.board(&client, json.then(|| Codes::new(Outcome::exit_code)));
        let outcomes = follow_all(&client, &begun, &board).await?;
        Ok(outcomes.into_iter().map(Outcome::exit_code).max().unwrap_or(0))
    }

    async fn begin(self, client: &Client) -> Result<Vec<OfGroup>, CliError> {
        let Self { groups, version, to, again, reason: Reason { reason }, wait, .. } = self;
        if let [group] = groups.as_slice() {
            let path = format!("/v1/groups/{}/deployments", in_path(group));
            let begin = async |waiting| {
                let (version, to, reason) = (version.clone(), to.clone(), reason.clone());
                let request = DeployRequest { version, to, again, reason, waiting };
                client.post::<Accepted>(&path, &request).await
            };
            let Accepted { deployment, after, .. } = wait.until_free(client, begin).await?;
            return Ok(vec![OfGroup { group: group.clone(), deployment, after }]);
        }
        let begin = async |waiting| {
            let (groups, version, to, reason) = (groups.clone(), version.clone(), to.clone(), reason.clone());
            let request = TogetherRequest { groups, version, to, again, reason, waiting };
            client.post::<Begun>("/v1/deployments", &request).await
        };
        Ok(wait.until_free(client, begin).await?.deployments)
    }
}
