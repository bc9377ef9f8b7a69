//! A release of the shop: what a real one would carry in its package.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// One release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// As answers name it.
    pub version: String,
    /// The schema version it was written for.
    pub schema: u32,
    /// What is wrong with it, in the words of `shop serve --fault`.
    pub fault: Option<String>,
}

impl Release {
    /// A release; good when it has no fault.
    pub fn new(version: &str, schema: u32, fault: Option<&str>) -> Self {
        Self { version: version.to_owned(), schema, fault: fault.map(str::to_owned) }
    }

    /// Puts it where the operator's commands find it.
    pub fn publish(&self, prefix: &Path) -> Result<()> {
        let folder = prefix.join("releases");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("{}.json", self.version)), serde_json::to_vec(self)?)?;
        Ok(())
    }

    /// Finds a published release. Any other version is a good one: to play with.
    pub fn find(prefix: &Path, version: &str) -> Result<Self> {
        match fs::read(prefix.join("releases").join(format!("{version}.json"))) {
            Ok(json) => {
                serde_json::from_slice(&json).with_context(|| format!("failed to read release {version}"))
            }
            Err(_) => Ok(Self::new(version, 3, None)),
        }
    }
}
