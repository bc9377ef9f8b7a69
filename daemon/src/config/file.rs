//! A configuration as read from its file, with a digest to detect changes.

use std::fmt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_128;

use super::{Config, ConfigError};

/// A configuration and its file.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The path of the file.
    pub path: PathBuf,
    /// The digest of its text.
    pub digest: Digest,
    /// Why the file is invalid. With an invalid file, only unfinished deployments continue.
    pub broken: Option<String>,
}

/// A hash of a text, to compare two texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(u128);

impl Digest {
    /// The digest of a text.
    pub fn of(text: &str) -> Self {
        Self(xxh3_128(text.as_bytes()))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Loaded {
    /// Reads a file. Fails if any part of it is invalid.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(path, &read(path)?)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let config = Config::parse(text).map_err(|source| ConfigError::parse(path, source))?;
        Ok(Self { config, path: path.to_owned(), digest: Digest::of(text), broken: None })
    }

    /// Reads a file for a daemon that starts. If only the groups are invalid, it returns a configuration without groups,
    /// because unfinished deployments have their own policies.
    pub fn read_for_start(path: &Path) -> Result<Self, ConfigError> {
        let text = read(path)?;
        Self::parse(path, &text).or_else(|error| {
            let Ok(config) = Config::parse(&without_groups(&text)) else { return Err(error) };
            let broken = Some(error.to_string());
            Ok(Self { config, path: path.to_owned(), digest: Digest::of(&text), broken })
        })
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })
}

/// The lines of the sections `[daemon]`, `[daemon.etcd]` and `[edge.NAME]`. A section ends before the next header.
fn without_groups(text: &str) -> String {
    let mut is_kept = false;
    let kept = text.lines().filter(|line| {
        let line = line.trim_start();
        if line.starts_with('[') {
            is_kept =
                line.starts_with("[daemon]") || line.starts_with("[daemon.") || line.starts_with("[edge.");
        }
        is_kept
    });
    kept.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "[daemon]\nstate = \"/tmp/state\"\n[edge.nginx]\nadmin = \"unix:/a\"\n[group.shop]\nwarm = \"1h\"\n";

    fn start_with(text: &str) -> Result<Loaded, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cutover.toml");
        std::fs::write(&path, text).unwrap();
        Loaded::read_for_start(&path)
    }

    #[test]
    fn a_broken_group_does_not_keep_the_daemon_from_starting() {
        for broken in
            ["[group.blog]\nwarm = \"1 parsec\"\n", "[group.blog\nwarm = 1", "[group.blog]\nwarm = \"1h\n"]
        {
            let loaded = start_with(&format!("{GOOD}{broken}")).unwrap();
            assert_eq!(loaded.config.daemon.state, Path::new("/tmp/state"));
            assert!(loaded.config.group.is_empty(), "none of them is trusted: {broken}");
            assert!(loaded.broken.unwrap().contains("failed to parse the configuration"));
        }
        let loaded = start_with(GOOD).unwrap();
        assert!(loaded.broken.is_none() && loaded.config.group.len() == 1);
    }

    #[test]
    fn without_its_own_sections_the_daemon_does_not_start() {
        for broken in [
            GOOD.replace("state = \"/tmp/state\"", "state = "),
            GOOD.replace("[edge.nginx]", "[edge.nginx"),
            GOOD.replace("admin", "admim"),
            "[group.shop]\nwarm = 1\n".to_owned(),
        ] {
            assert!(matches!(start_with(&broken), Err(ConfigError::Parse { .. })), "{broken}");
        }
    }

    #[test]
    fn digests_tell_texts_apart() {
        assert_eq!(Digest::of("a"), Digest::of("a"));
        assert_ne!(Digest::of("a"), Digest::of("b"));
        assert_eq!(Digest::of("").to_string().len(), 32);
    }
}
