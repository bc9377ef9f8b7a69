//! The command `kubectl`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::io::AsyncWriteExt;

use super::{patience, programs};

/// `kubectl` as one user, in one namespace.
#[derive(Clone, Debug)]
pub struct Kubectl {
    kubeconfig: PathBuf,
    namespace: String,
}

impl Kubectl {
    /// With this kubeconfig, in this namespace.
    pub fn new(kubeconfig: PathBuf, namespace: &str) -> Self {
        Self { kubeconfig, namespace: namespace.to_owned() }
    }

    /// The same user, for objects that name their namespaces.
    pub fn anywhere(&self) -> Self {
        Self { kubeconfig: self.kubeconfig.clone(), namespace: String::new() }
    }

    /// The kubeconfig.
    pub fn kubeconfig(&self) -> &PathBuf {
        &self.kubeconfig
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Runs it. Returns what it prints; fails with what it prints when it fails.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        self.run_with(arguments, "").await
    }

    /// Runs it. Returns its exit code.
    pub async fn code(&self, arguments: &[&str]) -> Result<i32> {
        let mut command = tokio::process::Command::from(self.command(arguments));
        let output = command.kill_on_drop(true).output().await;
        let output = output.context("failed to start kubectl: run scripts/fetch-kubernetes")?;
        output.status.code().context("a signal has ended kubectl")
    }

    /// Gets an object or a list.
    pub async fn get(&self, arguments: &[&str]) -> Result<Value> {
        let printed = self.run(&[&["get", "--output=json"], arguments].concat()).await?;
        Ok(serde_json::from_str(&printed)?)
    }

    /// Creates objects, or changes them to what the YAML says.
    pub async fn apply(&self, objects: &str) -> Result<()> {
        // Other than by default, objects may be larger than an annotation.
        self.run_with(&["apply", "--server-side", "--force-conflicts", "--filename=-"], objects).await?;
        Ok(())
    }

    /// Asks the API server whether it would take the objects, and changes nothing.
    pub async fn would_apply(&self, objects: &str) -> Result<()> {
        self.run_with(&["apply", "--server-side", "--dry-run=server", "--filename=-"], objects).await?;
        Ok(())
    }

    /// What the API server says against some of these objects, of which it changes none. Empty if it would take all.
    pub async fn objections(&self, objects: &str) -> Result<String> {
        let arguments = ["apply", "--server-side", "--dry-run=server", "--filename=-"];
        let output = self.output(&arguments, objects).await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success() == said.is_empty(), "kubectl {}: {said}", arguments.join(" "));
        Ok(said)
    }

    /// Applies all files of a folder, such as resource definitions. Returns when the API server knows these.
    pub async fn apply_folder(&self, folder: &Path) -> Result<()> {
        let file = format!("--filename={}", folder.display());
        self.run(&["apply", "--server-side", "--force-conflicts", &file]).await?;
        self.until_established(&["crd", "--all"]).await
    }

    /// Waits until the API server knows resource definitions, as in `["crd/bluegreens.cutover.dev"]`. kubectl itself gives up at
    /// once when a definition has no condition yet.
    pub async fn until_established(&self, definitions: &[&str]) -> Result<()> {
        let words = [&["wait", "--for=condition=Established", "--timeout=5s"], definitions].concat();
        patience::until("resource definitions to be established", async || self.run(&words).await.is_ok())
            .await
    }

    /// The command, for a caller that cannot wait.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(programs::fetched("kubernetes", "kubectl"));
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        command.arg("--cache-dir").arg(self.kubeconfig.with_extension("cache"));
        command.args(["--namespace", &self.namespace]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    async fn run_with(&self, arguments: &[&str], input: &str) -> Result<String> {
        let output = self.output(arguments, input).await?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "kubectl {}: {}", arguments.join(" "), errors.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    async fn output(&self, arguments: &[&str], input: &str) -> Result<Output> {
        let mut command = tokio::process::Command::from(self.command(arguments));
        let child = command.kill_on_drop(true).spawn();
        let mut child = child.context("failed to start kubectl: run scripts/fetch-kubernetes")?;
        let mut stdin = child.stdin.take().context("no input")?;
        // It may have ended without reading: its output says why.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        Ok(child.wait_with_output().await?)
    }
}
