//! `cutover history [GROUP]`

use std::io::{self, Write};

use clap::Args;

use super::terminal::{column, plain};
use super::{CliError, Place};
use crate::control::{DeploymentStatus, SwitchStatus};
use cutover_core::name::in_path;

#[derive(Debug, Args)]
pub(super) struct History {
    /// The group [default: all]
    group: Option<String>,
    /// Maximum number of entries; the newest comes first
    #[arg(long, default_value_t = 20, value_name = "NUMBER")]
    limit: u32,
    /// Print one JSON deployment or switch per line
    #[arg(long)]
    json: bool,
}

impl History {
    pub(super) fn json(&self) -> bool {
        self.json
    }

    pub(super) async fn run(self, place: &Place) -> Result<u8, CliError> {
        let group = self.group.map(|group| format!("&group={}", in_path(&group))).unwrap_or_default();
        let client = place.client()?;
        let query = format!("limit={}{group}", self.limit);
        let deployments: Vec<DeploymentStatus> = client.get(&format!("/v1/deployments?{query}")).await?;
        let switches: Vec<SwitchStatus> = client.get(&format!("/v1/switches?{query}")).await?;
        let mut lines: Vec<(String, String)> = Vec::new();
        for one in deployments {
            let line = if self.json { serde_json::json!(one).to_string() } else { deployment_line(&one) };
            lines.push((one.started, line));
        }
        for one in switches {
            let line = if self.json { serde_json::json!(one).to_string() } else { switch_line(&one) };
            lines.push((one.switched, line));
        }
        // Times in RFC 3339 and UTC sort as text.
        lines.sort_by(|(one, _), (other, _)| other.cmp(one));
        let mut out = io::stdout().lock();
        for (_, line) in lines.iter().take(usize::try_from(self.limit).unwrap_or(usize::MAX)) {
            writeln!(out, "{line}")?;
        }
        Ok(0)
    }
}

fn deployment_line(one: &DeploymentStatus) -> String {
    let with = match one.with.is_empty() {
        true => String::new(),
        false => format!(" (together with \"{}\")", one.with.join("\", \"")),
    };
    let outcome = one.outcome.map_or("under way", |outcome| outcome.as_str());
    format!(
        "{}  {:<28} {:<12} {} -> {}  {:<11} {}",
        one.started,
        one.deployment,
        column(&one.version),
        one.from,
        one.to,
        outcome,
        plain(&format!("{}{with}", one.message))
    )
}

fn switch_line(one: &SwitchStatus) -> String {
    format!(
        "{}  {:<28} {:<12} {} -> {}  {:<11} {}, requested by {}",
        one.switched,
        one.group,
        "",
        one.from,
        one.to,
        "by hand",
        plain(&one.reason),
        one.asked_by
    )
}
