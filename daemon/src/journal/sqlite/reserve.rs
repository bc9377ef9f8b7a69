//! The reserve: a file that is deleted when the disk is full, so the journal can still record a rollback.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use super::JournalError;

/// Length in bytes, enough for about fifty records. It is small in tests, which open many journals.
const BYTES: usize = if cfg!(test) { 4096 } else { 1 << 20 };
/// The reserve is written again when this many times its size is free.
const SPARE: u64 = 4;

/// The reserve's file. It is really written, not sparse.
#[derive(Clone, Debug)]
pub(super) struct Reserve(PathBuf);

impl Reserve {
    /// Writes the reserve in `folder` if it does not exist and the disk has room.
    pub(super) fn keep(folder: &Path) -> Self {
        let reserve = Self(folder.join("reserve"));
        reserve.refill();
        reserve
    }

    pub(super) fn is_there(&self) -> bool {
        fs::metadata(&self.0).is_ok_and(|metadata| metadata.len() == BYTES as u64)
    }

    /// Deletes the reserve if `error` comes from a full disk. Returns true if a second try makes sense.
    pub(super) fn give_up_for(&self, error: &JournalError) -> bool {
        let JournalError::Database { source: rusqlite::Error::SqliteFailure(failure, _), .. } = error else {
            return false;
        };
        let full = matches!(failure.code, ErrorCode::DiskFull | ErrorCode::SystemIoFailure);
        if !full || fs::remove_file(&self.0).is_err() {
            return false;
        }
        tracing::error!(reserve = %self.0.display(), %error, "the journal's disk is full; the reserve was deleted to make room");
        true
    }

    /// Writes the reserve again if the disk has room. A failure is only logged.
    pub(super) fn refill(&self) {
        if self.is_there() {
            return;
        }
        if let Err(error) = self.write() {
            let _ = fs::remove_file(&self.0);
            tracing::warn!(reserve = %self.0.display(), %error, "failed to write the journal's reserve");
        }
    }

    fn write(&self) -> io::Result<()> {
        let free = rustix::fs::statvfs(self.0.parent().unwrap_or(Path::new("/")))?;
        if free.f_bavail.saturating_mul(free.f_frsize) < SPARE * BYTES as u64 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut file =
            OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&self.0)?;
        // Not zeros, because a file system with compression would store nothing.
        let mut word = 0x9e37_79b9_7f4a_7c15_u64;
        let noise = std::iter::repeat_with(|| {
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            word.to_le_bytes()
        });
        file.write_all(&noise.take(BYTES / 8).flatten().collect::<Vec<u8>>())?;
        file.sync_all()
    }
}
