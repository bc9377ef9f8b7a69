//! What the status of the `BlueGreen` `shop` says, as soon as it says so.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use super::kubectl::Kubectl;

/// How long a status may stay the same.
const LIMIT: Duration = Duration::from_secs(120);

/// Between two fields. kubectl makes spaces of tabs.
const SEPARATOR: char = '\u{1f}';

/// The fields of [`Seen`], in its order.
const FIELDS: [&str; 7] = [
    "phase",
    "message",
    "deployment.id",
    "deployment.version",
    "history[0].id",
    "history[0].outcome",
    "epoch",
];

/// A watch of the status. Drop ends it.
#[derive(Debug)]
pub struct StatusWatch {
    _kubectl: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

/// A part of the status. What is not there is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The phase.
    pub phase: String,
    /// The message.
    pub message: String,
    /// The deployment that is under way.
    pub id: String,
    /// Its version.
    pub version: String,
    /// The last deployment that has ended.
    pub past: String,
    /// Its outcome.
    pub outcome: String,
    /// The number of the operator that drives, each time another one.
    pub epoch: u64,
}

impl StatusWatch {
    /// Begins with the status as it is.
    pub fn begin(kubectl: &Kubectl) -> Result<Self> {
        let fields = FIELDS.map(|field| format!("{{.status.{field}}}")).join(&SEPARATOR.to_string());
        let output = format!("--output=jsonpath={fields}{{\"\\n\"}}");
        let words = ["get", "bluegreen", "shop", "--watch", &output];
        let mut kubectl = tokio::process::Command::from(kubectl.command(&words))
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .context("failed to start kubectl: run scripts/fetch-kubernetes")?;
        let stdout = kubectl.stdout.take().context("no standard output")?;
        Ok(Self { _kubectl: kubectl, lines: BufReader::new(stdout).lines() })
    }

    /// The next change of the status, or the same once more.
    pub async fn next(&mut self) -> Result<Seen> {
        let line = tokio::time::timeout(LIMIT, self.lines.next_line())
            .await
            .with_context(|| format!("the status of the BlueGreen has not changed for {LIMIT:?}"))??;
        let line = line.context("kubectl has ended")?;
        let mut fields = line.split(SEPARATOR).map(str::to_owned);
        let mut next = || fields.next().unwrap_or_default();
        Ok(Seen {
            phase: next(),
            message: next(),
            id: next(),
            version: next(),
            past: next(),
            outcome: next(),
            epoch: next().parse().unwrap_or_default(),
        })
    }
}
