//! The state file of an nginx under test, changed in place.
//!
//! The offsets are those of `state_file` and `trial` in the core: records begin at [`FIRST_RECORD`].

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

use anyhow::Result;

use crate::nginx::Nginx;

/// Where the record of the first group begins; its first word is the route.
pub const FIRST_RECORD: u64 = 4096;

const TRIAL_SLOTS: u64 = FIRST_RECORD + 40;
const TRIAL_MONOTONIC_MS: u64 = FIRST_RECORD + 48;
const TRIAL_WALL_MS: u64 = FIRST_RECORD + 56;

/// The open file.
#[derive(Debug)]
pub struct StateFile(File);

impl StateFile {
    /// Opens the file in `%%prefix%%/state`.
    pub fn open(nginx: &Nginx) -> Result<Self> {
        let path = nginx.prefix().join("state/routes");
        Ok(Self(OpenOptions::new().read(true).write(true).open(path)?))
    }

    /// Replaces the first group's route.
    pub fn write_route(&self, word: [u8; 8]) -> Result<()> {
        Ok(self.0.write_all_at(&word, FIRST_RECORD)?)
    }

    /// Makes the first group's trial one of another boot, in which the monotonic clock had run for a month.
    pub fn reboot(&self) -> Result<()> {
        self.change(TRIAL_SLOTS, |slots| slots ^ 0x5555 << 32)?;
        self.change(TRIAL_MONOTONIC_MS, |ms| ms + 30 * 86_400_000)
    }

    /// Makes the first group's trial begin earlier by the wall clock.
    pub fn begin_earlier(&self, ms: u64) -> Result<()> {
        self.change(TRIAL_WALL_MS, |wall_ms| wall_ms - ms)
    }

    fn change(&self, at: u64, change: impl Fn(u64) -> u64) -> Result<()> {
        let mut word = [0; 8];
        self.0.read_exact_at(&mut word, at)?;
        Ok(self.0.write_all_at(&change(u64::from_ne_bytes(word)).to_ne_bytes(), at)?)
    }
}
