//! What `scripts/fetch-kubernetes` has made.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::flavour;

/// A file or folder of one of the parts that the script lists in its help.
pub fn fetched(part: &str, name: &str) -> PathBuf {
    flavour::root().join("build/kubernetes").join(part).join(name)
}

/// Runs helm. Returns what it prints; fails with what it prints when it fails.
pub fn helm(arguments: &[&str]) -> Result<String> {
    let output = Command::new(fetched("helm", "helm")).args(arguments).output();
    let output = output.context("failed to start helm: run scripts/fetch-kubernetes")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "helm {}: {}", arguments.join(" "), errors.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
