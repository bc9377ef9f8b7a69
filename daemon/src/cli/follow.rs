//! Following a deployment to its end, over restarts of the daemon.

use std::io::{self, Write};
use std::time::Duration;

use cutover_core::deployment::Outcome;
use tokio::time::Instant;

use super::CliError;
use super::client::{Client, ClientError};
use crate::api::DeploymentEvent;

/// How long the daemon may be away.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);

/// Prints each event until one has an outcome.
pub(super) async fn follow(
    client: &Client,
    deployment: &str,
    mut after: i64,
    json: bool,
) -> Result<Outcome, CliError> {
    let mut printer = Printer { json, begin: None };
    let mut away: Option<Instant> = None;
    loop {
        match until_broken(client, deployment, &mut after, &mut printer, &mut away).await {
            Ok(Some(outcome)) => return Ok(outcome),
            Ok(None) => {}
            Err(CliError::Client(error)) if error.may_pass() => {}
            Err(error) => return Err(error),
        }
        let since = *away.get_or_insert_with(Instant::now);
        if since.elapsed() >= PATIENCE {
            let deployment = deployment.to_owned();
            return Err(ClientError::Gone { deployment, patience: PATIENCE }.into());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn until_broken(
    client: &Client,
    deployment: &str,
    after: &mut i64,
    printer: &mut Printer,
    away: &mut Option<Instant>,
) -> Result<Option<Outcome>, CliError> {
    let mut lines = client.lines(&format!("/v1/deployments/{deployment}/events?after={after}")).await?;
    while let Some(line) = lines.next().await? {
        let event: DeploymentEvent =
            serde_json::from_str(&line).map_err(|error| ClientError::Alien(error.to_string()))?;
        *away = None;
        *after = event.seq;
        printer.print(&line, &event)?;
        if let Some(outcome) = event.outcome {
            return Ok(Some(outcome));
        }
    }
    Ok(None)
}

struct Printer {
    json: bool,
    begin: Option<jiff::Timestamp>,
}

impl Printer {
    fn print(&mut self, line: &str, event: &DeploymentEvent) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            writeln!(out, "{line}")?;
            return out.flush();
        }
        let at: Option<jiff::Timestamp> = event.time.parse().ok();
        let begin = *self.begin.get_or_insert(at.unwrap_or_default());
        let seconds = at.map_or(0.0, |at| at.duration_since(begin).as_secs_f64());
        let mut lines = event.message.lines();
        writeln!(out, "{seconds:7.1} s  {:<15} {}", event.phase, lines.next().unwrap_or(""))?;
        for more in lines {
            writeln!(out, "{:27}| {more}", "")?;
        }
        out.flush()
    }
}
