//! Reloads the configuration, completely or not at all.

use std::path::PathBuf;

use cutover_engine::clock::rfc3339;
use cutover_engine::world::World;
use serde::{Deserialize, Serialize};

use super::Control;
use crate::config::{Config, EdgeName, Loaded};

/// A new configuration is refused because a fixed section has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{section} has changed, so the daemon must be restarted")]
pub struct NeedsRestart {
    section: String,
}

/// The current configuration, as the control API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationStatus {
    /// The file.
    pub file: PathBuf,
    /// When the daemon read it.
    pub read: String,
    /// A hash of its text.
    pub digest: String,
    /// Why it is invalid. `None` if it is valid.
    pub broken: Option<String>,
}

impl<W: World> Control<W> {
    /// Replaces the configuration. Running deployments keep their policies. Fails if `[daemon]` or `[edge.NAME]` has changed.
    pub fn reload(&self, new: Loaded) -> Result<(), NeedsRestart> {
        let old = self.loaded.load();
        if let Some(section) = fixed(&old.0.config, &new.config) {
            return Err(NeedsRestart { section });
        }
        self.loaded.store((new, self.clock.now()).into());
        self.keep_vigils();
        Ok(())
    }

    /// The current configuration.
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

/// The first changed section that the daemon reads only at its start.
fn fixed(old: &Config, new: &Config) -> Option<String> {
    if old.daemon != new.daemon {
        return Some("[daemon]".to_owned());
    }
    let changed = |name: &&EdgeName| old.edge.get(*name) != new.edge.get(*name);
    let name = old.edge.keys().chain(new.edge.keys()).find(changed)?;
    Some(format!("[edge.{name}]"))
}
