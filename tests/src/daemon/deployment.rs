//! A running `cutover deploy --json`, and its result.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

/// How long a test waits for one deployment.
pub(super) const LIMIT: Duration = Duration::from_secs(90);

/// One line of `--json`.
#[derive(Clone, Debug, Deserialize)]
pub struct DeploymentEvent {
    /// The deployment's id.
    pub deployment: String,
    /// The phase it is in, as in `probing`.
    #[serde(default)]
    pub phase: String,
    /// A text for the operator.
    #[serde(default)]
    pub message: String,
    /// Only in the last line: `completed`, `failed`, `rolled_back` or `stuck`.
    pub outcome: Option<String>,
    /// Only in the last line: the exit code of the command.
    pub exit_code: Option<i32>,
}

/// A deployment in progress. Drop kills the command; the deployment goes on in the daemon.
#[derive(Debug)]
pub struct Deployment {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    events: Vec<DeploymentEvent>,
    failure: Option<Value>,
}

/// The result of the command.
#[derive(Clone, Debug)]
pub struct Deployed {
    /// Its exit code; -1 when a signal ended it.
    pub code: i32,
    /// The outcome in the last line; empty when there is none.
    pub outcome: String,
    /// All lines, in order.
    pub events: Vec<DeploymentEvent>,
    /// The object that says why the command failed, if it did.
    pub failure: Option<Value>,
    /// Standard error.
    pub stderr: String,
}

/// The exit code that goes with an outcome.
pub(super) fn exit_code(outcome: &str) -> Result<i32> {
    match outcome {
        "completed" => Ok(0),
        "failed" => Ok(3),
        "rolled_back" => Ok(4),
        "stuck" => Ok(5),
        _ => anyhow::bail!("no outcome of a deployment: {outcome:?}"),
    }
}

impl Deployed {
    /// Fails if it did not end with this outcome and exit code.
    pub fn assert_ended(&self, outcome: &str, code: i32) -> Result<()> {
        anyhow::ensure!((self.outcome.as_str(), self.code) == (outcome, code), "{self:#?}");
        Ok(())
    }
}

impl Deployment {
    pub(super) fn begin(command: Command) -> Result<Self> {
        let mut child = tokio::process::Command::from(command)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("failed to start `cutover deploy`")?;
        let stdout = child.stdout.take().context("no standard output")?;
        Ok(Self { child, lines: BufReader::new(stdout).lines(), events: Vec::new(), failure: None })
    }

    /// The next event; `None` when the command has printed its last.
    pub async fn next(&mut self) -> Result<Option<DeploymentEvent>> {
        let line = tokio::time::timeout(LIMIT, self.lines.next_line())
            .await
            .with_context(|| format!("`cutover deploy` printed nothing for {LIMIT:?}"))??;
        let Some(line) = line else { return Ok(None) };
        let failed = || format!("failed to read the event {line:?}");
        let value: Value = serde_json::from_str(&line).with_context(failed)?;
        if value.get("error").is_some() {
            self.failure = Some(value);
            return Ok(None);
        }
        let event: DeploymentEvent = serde_json::from_value(value).with_context(failed)?;
        self.events.push(event.clone());
        Ok(Some(event))
    }

    /// Waits for the beginning of a phase. Fails when the command ends first.
    pub async fn phase(&mut self, phase: &str) -> Result<()> {
        while let Some(event) = self.next().await? {
            if event.phase == phase {
                return Ok(());
            }
        }
        let Deployed { events, stderr, .. } = self.end().await?;
        anyhow::bail!("the deployment never reached {phase:?}: {events:?} {stderr}")
    }

    /// Waits for the end of the command.
    pub async fn finish(mut self) -> Result<Deployed> {
        while self.next().await?.is_some() {}
        self.end().await
    }

    async fn end(&mut self) -> Result<Deployed> {
        let mut stderr = String::new();
        if let Some(pipe) = &mut self.child.stderr {
            pipe.read_to_string(&mut stderr).await?;
        }
        let status = self.child.wait().await?;
        Ok(Deployed {
            code: status.code().unwrap_or(-1),
            outcome: self.events.last().and_then(|event| event.outcome.clone()).unwrap_or_default(),
            events: std::mem::take(&mut self.events),
            failure: self.failure.take(),
            stderr,
        })
    }
}
