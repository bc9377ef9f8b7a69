//! `cutover logs ID [NAME]`

use std::io::{self, IsTerminal, Write};

use clap::Args;
use cutover_core::name::in_path;
use cutover_core::shell::quoted;
use serde_json::json;

use super::terminal::plain;
use super::{CliError, Place};
use crate::control::OutputStatus;

#[derive(Debug, Args)]
pub(super) struct Logs {
    /// The deployment
    #[arg(value_name = "ID")]
    deployment: String,
    /// The command, as in provision [default: list what there is]
    name: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Logs {
    pub(super) fn json(&self) -> bool {
        self.json
    }

    pub(super) async fn run(self, place: &Place) -> Result<u8, CliError> {
        let client = place.client()?;
        let id = in_path(&self.deployment);
        let Some(name) = &self.name else {
            let outputs: Vec<OutputStatus> = client.get(&format!("/v1/deployments/{id}/logs")).await?;
            return self.list(&outputs, &client.program());
        };
        let mut body = client.stream(&format!("/v1/deployments/{id}/log?name={}", in_path(name))).await?;
        let mut out = io::stdout();
        if self.json {
            let mut text = Vec::new();
            while let Some(chunk) = body.chunk().await? {
                text.extend_from_slice(&chunk);
            }
            let text = String::from_utf8_lossy(&text);
            let shown = json!({"deployment": self.deployment, "name": name, "text": text, "exit_code": 0});
            writeln!(out, "{shown}")?;
            return Ok(0);
        }
        // A terminal must not obey what a command has written.
        let is_terminal = out.is_terminal();
        while let Some(chunk) = body.chunk().await? {
            match is_terminal {
                true => out.write_all(plain(&String::from_utf8_lossy(&chunk)).as_bytes())?,
                false => out.write_all(&chunk)?,
            }
        }
        out.flush()?;
        Ok(0)
    }

    fn list(&self, outputs: &[OutputStatus], program: &str) -> Result<u8, CliError> {
        let mut out = io::stdout().lock();
        if self.json {
            let outputs: Vec<_> =
                outputs.iter().map(|one| json!({"name": one.name, "bytes": one.bytes})).collect();
            writeln!(out, "{}", json!({"deployment": self.deployment, "outputs": outputs, "exit_code": 0}))?;
            return Ok(0);
        }
        if outputs.is_empty() {
            writeln!(
                out,
                "no command of deployment {} has left output on this host; each host keeps that of its own daemon",
                self.deployment
            )?;
        }
        for OutputStatus { name, bytes, .. } in outputs {
            let id = quoted(&self.deployment);
            writeln!(out, "{name:<14} {bytes:>9} bytes   {program} logs {id} {}", quoted(name))?;
        }
        Ok(0)
    }
}
