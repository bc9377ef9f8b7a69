//! The configuration, read anew while the daemon runs: as a whole or not at all.

use std::path::PathBuf;

use cutover_engine::clock::rfc3339;
use serde::{Deserialize, Serialize};

use super::Control;
use crate::config::{Config, Loaded};

/// Why a new configuration is refused. The old one stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{section} has changed, so the daemon must be restarted")]
pub struct NeedsRestart {
    section: String,
}

/// The configuration that counts, as the control API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationStatus {
    /// The file.
    pub file: PathBuf,
    /// When it was read.
    pub read: String,
    /// Of its text: another text has another one.
    pub digest: String,
    /// Why nothing new is begun with it; absent: it is good.
    pub broken: Option<String>,
}

impl<W> Control<W> {
    /// Puts a new configuration in place of the old one. Deployments under way keep the policies that they began with.
    pub fn reload(&self, new: Loaded) -> Result<(), NeedsRestart> {
        let old = self.loaded.load();
        if let Some(section) = fixed(&old.0.config, &new.config) {
            return Err(NeedsRestart { section });
        }
        self.loaded.store((new, self.clock.now()).into());
        Ok(())
    }

    /// The configuration that counts.
    pub fn configuration(&self) -> ConfigurationStatus {
        let loaded = self.loaded.load();
        let (Loaded { path, digest, broken, .. }, read) = &**loaded;
        ConfigurationStatus {
            file: path.clone(),
            read: rfc3339(*read),
            digest: digest.to_string(),
            broken: broken.clone(),
        }
    }
}

/// The first section that differs and that the daemon has read once and for all: its sockets, its journal, its edge.
fn fixed(old: &Config, new: &Config) -> Option<String> {
    if old.daemon != new.daemon {
        return Some("[daemon]".to_owned());
    }
    (old.edge != new.edge).then(|| format!("[edge.{}]", old.edge.0))
}
