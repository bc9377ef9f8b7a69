//! A plain flush to disk, for comparison with the module's acknowledgment.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Size of a state file with few groups.
const SIZE: usize = 36 * 1024;
/// Offset of the first record in a state file.
const OFFSET: u64 = 4096;

/// A page of an existing file, like the state file.
#[derive(Debug)]
pub(super) struct DiskPage {
    file: File,
    written: u64,
}

impl DiskPage {
    pub(super) fn create(folder: &Path) -> Result<Self> {
        let file =
            File::create(folder.join("page")).context("failed to create a file beside the state file")?;
        file.write_all_at(&vec![0; SIZE], 0)?;
        file.sync_all()?;
        Ok(Self { file, written: 0 })
    }

    /// Changes eight bytes and flushes them (`fdatasync`, which has the same effect as `msync` of the page).
    pub(super) fn flush(&mut self) -> Result<Duration> {
        self.written += 1;
        self.file.write_all_at(&self.written.to_le_bytes(), OFFSET)?;
        let begin = Instant::now();
        self.file.sync_data()?;
        Ok(begin.elapsed())
    }
}
