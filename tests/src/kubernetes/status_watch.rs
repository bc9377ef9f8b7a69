//! The statuses of the `BlueGreen` named `shop`, each as soon as the API server has it.

use std::process::Stdio;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::namespace::Namespace;
use super::patience;

/// A watch. Drop ends it.
#[derive(Debug)]
pub struct StatusWatch {
    _kubectl: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl StatusWatch {
    /// Begins with the status as it is now.
    pub fn start(namespace: &Namespace<'_>) -> Result<Self> {
        let words = ["get", "bluegreen", "shop", "--watch", "--output=jsonpath={.status}{'\\n'}"];
        let mut command = Command::from(namespace.kubectl().command(&words));
        let mut child = command.stdin(Stdio::null()).kill_on_drop(true).spawn()?;
        let output = child.stdout.take().context("no output")?;
        Ok(Self { _kubectl: child, lines: BufReader::new(output).lines() })
    }

    /// Waits until a status is as wanted. Returns it. None is left out, however short it is.
    pub async fn until(&mut self, what: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = String::new();
        let found = async {
            while let Some(line) = self.lines.next_line().await? {
                let status: Value = serde_json::from_str(&line).unwrap_or_default();
                if is(&status) {
                    return Ok(status);
                }
                last = line;
            }
            anyhow::bail!("the watch has ended")
        };
        let found = tokio::time::timeout(patience::PATIENCE, found).await;
        found.map_err(anyhow::Error::from).flatten().with_context(|| format!("waited for {what}: {last}"))
    }
}
