//! A small disk of its own, which a test can fill.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::temp::TempDir;

/// A tmpfs. Drop unmounts it.
#[derive(Debug)]
pub struct SmallDisk(TempDir);

impl SmallDisk {
    /// Mounts one of this size, as in `256k`.
    pub fn mount(size: &str) -> Result<Self> {
        let at = TempDir::new()?;
        let options = format!("size={size},mode=0777");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at.path()).status();
        ensure!(mounted.context("no mount")?.success(), "failed to mount a tmpfs");
        Ok(Self(at))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Leaves room for about so many bytes.
    pub fn fill(&self, room: u64) -> Result<()> {
        let free = rustix::fs::statvfs(self.path())?;
        let bytes = (free.f_bavail * free.f_frsize).saturating_sub(room);
        Ok(fs::write(self.path().join("filling"), vec![0; usize::try_from(bytes)?])?)
    }

    /// Makes room again.
    pub fn clear(&self) -> Result<()> {
        Ok(fs::remove_file(self.path().join("filling"))?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}
