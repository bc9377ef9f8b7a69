//! A release of the shop: the metadata that a real package would contain.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::flavour;

/// One release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The version in its answers.
    pub version: String,
    /// The schema version that it needs.
    pub schema: u32,
    /// Its fault, as `shop serve --fault` takes it.
    pub fault: Option<String>,
    /// The least time of its answers, in milliseconds.
    pub takes_ms: u64,
}

impl Release {
    /// A release; good when it has no fault.
    pub fn new(version: &str, schema: u32, fault: Option<&str>) -> Self {
        Self { version: version.to_owned(), schema, fault: fault.map(str::to_owned), takes_ms: 0 }
    }

    /// Sets the least time of its answers, in milliseconds.
    pub fn taking(mut self, takes_ms: u64) -> Self {
        self.takes_ms = takes_ms;
        self
    }

    /// Writes it to the folder that the operator's commands read.
    pub fn publish(&self, prefix: &Path) -> Result<()> {
        let folder = prefix.join("releases");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("{}.json", self.version)), serde_json::to_vec(self)?)?;
        match fs::read_to_string(prefix.join(super::KIND)) {
            Ok(kind) => self.publish_migrations(&folder.join(&self.version).join("migrations"), &kind),
            // The operator's commands have the migrations.
            Err(_) => Ok(()),
        }
    }

    /// Copies the migrations up to the schema of the release.
    fn publish_migrations(&self, folder: &Path, kind: &str) -> Result<()> {
        fs::create_dir_all(folder)?;
        let all = flavour::root().join("examples/shop/migrations").join(kind);
        for entry in fs::read_dir(&all).with_context(|| format!("failed to read {}", all.display()))? {
            let entry = entry?;
            let file = entry.file_name().to_string_lossy().into_owned();
            let number: Option<u32> = file.split('_').next().and_then(|number| number.parse().ok());
            if number.is_some_and(|number| number <= self.schema) {
                fs::copy(entry.path(), folder.join(file))?;
            }
        }
        Ok(())
    }

    /// Finds a published release. Any other version is a good release with schema 3.
    pub fn find(prefix: &Path, version: &str) -> Result<Self> {
        match fs::read(prefix.join("releases").join(format!("{version}.json"))) {
            Ok(json) => {
                serde_json::from_slice(&json).with_context(|| format!("failed to read release {version}"))
            }
            Err(_) => Ok(Self::new(version, 3, None)),
        }
    }
}
