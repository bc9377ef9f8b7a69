//! `cutover status [GROUP]`

use std::io::{self, Write};
use std::time::Duration;

use clap::Args;
use cutover_core::name::in_path;

use super::client::Client;
use super::screen::{Line, Now, Paper, status};
use super::{CliError, Place, direct};
use crate::control::GroupStatus;

/// How often `--watch` looks.
const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct Status {
    /// The group [default: all]
    group: Option<String>,
    /// Print JSON: one group, or a list of all
    #[arg(long)]
    json: bool,
    /// Show it anew each second, until Ctrl-C
    #[arg(long)]
    watch: bool,
}

impl Status {
    pub(super) fn json(&self) -> bool {
        self.json
    }

    pub(super) async fn run(self, place: &Place) -> Result<u8, CliError> {
        let client = place.client()?;
        let paper = place.paper();
        if !self.watch {
            return self.show(&client, &paper, place).await;
        }
        tokio::select! {
            ended = self.watch(&client, &paper, place) => ended,
            _ = tokio::signal::ctrl_c() => Ok(0),
        }
    }

    /// Shows it once. The exit code is 1 if the daemon is away.
    async fn show(&self, client: &Client, paper: &Paper, place: &Place) -> Result<u8, CliError> {
        let all = self.read(client, place).await?;
        let code = u8::from(all.iter().any(|one| one.daemon_away.is_some()));
        let coded = |one: &GroupStatus| super::with_exit_code(one, code);
        match (self.json, all.as_slice(), &self.group) {
            (true, [one], Some(_)) => writeln!(io::stdout(), "{}", coded(one))?,
            (true, _, _) => {
                writeln!(io::stdout(), "{}", serde_json::Value::from_iter(all.iter().map(coded)))?;
            }
            (false, _, _) => paper.write(&lines(&all, &client.program()))?,
        }
        Ok(code)
    }

    /// Asks the daemon; if it is away, the edges.
    async fn read(&self, client: &Client, place: &Place) -> Result<Vec<GroupStatus>, CliError> {
        let read = match &self.group {
            Some(group) => client.get(&format!("/v1/groups/{}", in_path(group))).await.map(|one| vec![one]),
            None => client.get("/v1/status").await,
        };
        match read {
            Err(error) if direct::is_away(&error, place) => {
                direct::status(place, self.group.as_deref(), &error.to_string()).await
            }
            read => Ok(read?),
        }
    }

    /// Shows the status again and again: in place on a terminal, one after the other elsewhere.
    async fn watch(&self, client: &Client, paper: &Paper, place: &Place) -> Result<u8, CliError> {
        let mut rows = 0;
        loop {
            if self.json || !paper.is_terminal() {
                self.show(client, paper, place).await?;
            } else {
                let shown = match self.read(client, place).await {
                    Ok(all) => lines(&all, &client.program()),
                    Err(error) => vec![Line::new(2).text(error.to_string())],
                };
                let mut shown: Vec<String> = shown.iter().flat_map(|line| paper.rows(line)).collect();
                // What is above the first row of the terminal cannot be written anew.
                shown.truncate(paper.height().saturating_sub(1));
                paper.term().clear_last_lines(rows)?;
                rows = shown.len();
                paper.term().write_str(&shown.iter().map(|row| format!("{row}\n")).collect::<String>())?;
                paper.term().flush()?;
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

/// The blocks of all groups, with a blank line between them.
fn lines(all: &[GroupStatus], cutover: &str) -> Vec<Line> {
    let now = Now::here();
    let away = all.iter().find_map(|one| one.daemon_away.as_deref());
    let mut lines: Vec<Line> = away.into_iter().map(status::away).collect();
    for one in all {
        if !lines.is_empty() {
            lines.push(Line::default());
        }
        lines.extend(status::lines(one, cutover, &now));
    }
    lines
}
