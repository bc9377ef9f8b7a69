//! `cutover history [GROUP]`

use std::io::{self, Write};

use clap::Args;

use super::{CliError, Place};
use crate::control::DeploymentStatus;

#[derive(Debug, Args)]
pub(super) struct History {
    /// The group [default: all]
    group: Option<String>,
    /// How many deployments, the last first
    #[arg(long, default_value_t = 20)]
    limit: u32,
    /// Print one deployment a line, as JSON
    #[arg(long)]
    json: bool,
}

impl History {
    pub(super) async fn run(self, place: &Place) -> Result<u8, CliError> {
        let group = self.group.map(|group| format!("&group={group}")).unwrap_or_default();
        let path = format!("/v1/deployments?limit={}{group}", self.limit);
        let all: Vec<DeploymentStatus> = place.client()?.get(&path).await?;
        let mut out = io::stdout().lock();
        for one in all {
            if self.json {
                writeln!(out, "{}", serde_json::json!(one))?;
                continue;
            }
            let outcome = one.outcome.map_or("under way", |outcome| outcome.as_str());
            writeln!(
                out,
                "{}  {:<28} {:<12} {} -> {}  {:<11} {}",
                one.started, one.deployment, one.version, one.from, one.to, outcome, one.message
            )?;
        }
        Ok(0)
    }
}
