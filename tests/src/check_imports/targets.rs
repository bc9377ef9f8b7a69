//! The crates to check: every library and every program of the workspace.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// A library or a program.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Unique. A library's name is the one that paths of other crates begin with.
    pub(crate) name: String,
    /// Whether other crates can use its names.
    pub(crate) is_library: bool,
    /// Its `lib.rs` or `main.rs`.
    pub(crate) root: PathBuf,
}

/// The folder of the workspace around the current folder, and its targets. Test programs, benchmarks and build scripts are
/// left out.
pub(crate) fn of_workspace() -> Result<(PathBuf, Vec<Target>)> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .output()
        .context("failed to run cargo")?;
    if !output.status.success() {
        bail!("failed to ask cargo for the crates: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).context("failed to read cargo's answer")?;
    let mut targets = Vec::new();
    for target in metadata.packages.into_iter().flat_map(|package| package.targets) {
        let is_library = target.kind.iter().any(|kind| kind.ends_with("lib"));
        if is_library {
            targets.push(Target { name: target.name, is_library, root: target.src_path });
        } else if target.kind.iter().any(|kind| kind == "bin") {
            let name = format!("program {}", target.name);
            targets.push(Target { name, is_library, root: target.src_path });
        }
    }
    Ok((metadata.workspace_root, targets))
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    targets: Vec<PackageTarget>,
}

#[derive(Deserialize)]
struct PackageTarget {
    kind: Vec<String>,
    name: String,
    src_path: PathBuf,
}
