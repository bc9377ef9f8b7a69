//! The file with the last events of each group, beside the state file; its layout is [`cutover_core::event`].
//!
//! Written with pwrite, not through a mapping: on a full disk a write fails, a mapping kills the worker (SIGBUS). Workers
//! inherit the descriptor, so they need no permission on the file. It is a record for people: what cannot be written is logged
//! and stops nothing.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use cutover_core::event::{RING_SIZE, RouteEvent, decode_ring, place_of};
use rustix::fs::OFlags;

use super::error::{StateError, failed};
use super::file::{self, Access};

/// Name of the file in the folder of `cutover_state`.
const NAME: &str = "events";

pub(crate) struct Events(File);

/// Where the file is.
fn path(folder: &Path) -> PathBuf {
    folder.join(NAME)
}

/// Refuses what [`Events::open`] would refuse; creates nothing.
pub(crate) fn check(folder: &Path) -> Result<(), StateError> {
    let path = path(folder);
    match file::open_existing(&path, Access::Read)? {
        Some(_) => file::check_can_write(&path),
        None => Ok(()),
    }
}

impl Events {
    /// Opens the file of the folder, or makes it.
    pub(crate) fn open(folder: &Path) -> Result<Self, StateError> {
        let path = path(folder);
        if let Some(file) = file::open_existing(&path, Access::Write)? {
            return Ok(Self(file));
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits() as i32)
            .open(&path)
            .map_err(|error| failed("creating", &path, error))?;
        Ok(Self(file))
    }

    /// Adds an event of the group with this record; its number is given here. `count` is the group's count of events.
    pub(crate) fn append(
        &self,
        record: u32,
        group: &str,
        count: &AtomicU32,
        mut event: RouteEvent,
    ) -> io::Result<()> {
        if count.load(Ordering::Acquire) == 0 {
            // The first event since nginx started: continue where the file ends. Two processes that find this out at once find
            // the same.
            let last = self.read(record, group).last().map_or(0, |event| event.number);
            count.fetch_max(u32::try_from(last).unwrap_or(0), Ordering::AcqRel);
        }
        event.number = u64::from(count.fetch_add(1, Ordering::AcqRel).wrapping_add(1));
        self.0.write_all_at(&event.encode(group), ring_offset(record) + place_of(event.number) as u64)
    }

    /// The last events of the group with this record, oldest first.
    pub(crate) fn read(&self, record: u32, group: &str) -> Vec<RouteEvent> {
        let mut ring = vec![0; RING_SIZE];
        let mut filled = 0;
        while let Some(rest) = ring.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, ring_offset(record) + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Vec::new(),
            }
        }
        decode_ring(&ring, group)
    }

    /// The file, to flush it.
    pub(crate) fn file(&self) -> &File {
        &self.0
    }
}

fn ring_offset(record: u32) -> u64 {
    u64::from(record) * RING_SIZE as u64
}
