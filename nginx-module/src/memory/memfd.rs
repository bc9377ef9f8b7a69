//! Memory that every process of this nginx shares: the counters of all groups ([`counters`](super::counters)), and a few words
//! beside them ([`words`](super::words)). This file says what is where.
//!
//! ```text
//! page 0        process ids, one for each shard: its writer now, or the last one; then
//!               cells given out | changes of trials | the master that left
//! directory     for each record of the state file 32 words: the cell of each slot id, how many events the group had, the id of
//!               the slot that was chosen to stand by, and the cell of each slot id for previews
//! chunk 0       page 0: for each of 64 cells a bit for each shard: whether it has ever been written
//!               then for each shard 64 pages: one Shard for each cell, written by the process that has claimed the shard
//! chunk 1       ..
//! ```
//!
//! The memory is a file without a name (memfd): like the state file it is found again among the inherited descriptors, so
//! counts go on over a reload and a binary upgrade, and end with nginx. It only ever grows (a seal of
//! the kernel), and untouched pages cost nothing: so no process reads a page whose bit is not set.
//!
//! An older module leaves the cells for previews zero, and counts previews with users' requests. So both may use the memory in turn
//! or at once, as they do in a binary upgrade.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use cutover_core::shard::{LAYOUT, SHARD_SIZE, Shard};
use cutover_core::slot::SlotId;
use cutover_core::state_file::MAX_CAPACITY;
use rustix::fs::{MemfdFlags, SealFlags};

use super::descriptors;
use super::file::Identity;
use super::mapping::Mapping;

/// Processes of one nginx that count apart, those of two masters during a binary upgrade and of earlier cycles included.
/// The last shard is for the processes that find no free one: they count there together.
const SHARDS: usize = 512;
pub(super) const OVERFLOW: usize = SHARDS - 1;
const PAGE: usize = 4096;

/// Cells of a chunk: what one process touches of a chunk lies together, and so costs few page tables.
const CHUNK_CELLS: usize = 64;
const CHUNK_SIZE: usize = PAGE + SHARDS * CHUNK_CELLS * SHARD_SIZE;
pub(super) const TOUCHED_WORDS: usize = SHARDS / 64;

const ENTRY_WORDS: usize = 32;
pub(super) const EVENTS_WORD: usize = SlotId::MAX as usize;
pub(super) const STANDBY_WORD: usize = EVENTS_WORD + 1;
const PREVIEWS_WORD: usize = STANDBY_WORD + 1;
const DIRECTORY_OFFSET: usize = PAGE;
const CHUNKS_OFFSET: usize = DIRECTORY_OFFSET + MAX_CAPACITY as usize * ENTRY_WORDS * 4;

const CELLS_OFFSET: usize = SHARDS * 4;
pub(super) const CHANGES_OFFSET: usize = CELLS_OFFSET + 4;
pub(super) const LEFT_OFFSET: usize = CHANGES_OFFSET + 4;

const _: () = assert!(LEFT_OFFSET + 4 <= PAGE);
const _: () = assert!(PREVIEWS_WORD + SlotId::MAX as usize <= ENTRY_WORDS);
const _: () = assert!(CHUNK_CELLS * TOUCHED_WORDS * 8 == PAGE);
const _: () = assert!(CHUNKS_OFFSET.is_multiple_of(PAGE));

/// Where the counters of a slot are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CellId(u32);

/// The cells of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotCells {
    /// For requests of users.
    pub(crate) users: CellId,
    /// For previews.
    pub(crate) previews: CellId,
}

/// The memory as one cycle has mapped it.
pub(crate) struct Memfd {
    mapping: Mapping,
    /// The next cycle finds the memory by it.
    descriptor: Cell<Option<OwnedFd>>,
}

/// A slot that needs a cell.
pub(crate) struct SlotKey {
    pub(crate) record: u32,
    pub(crate) id: SlotId,
    /// The id has gone to another slot: its counters begin anew.
    pub(crate) reassigned: bool,
}

/// The name that the system shows for the memory that belongs to a state file.
pub(crate) fn name(state_file: Identity) -> String {
    format!("cutover:{LAYOUT}:{}:{}", state_file.0, state_file.1)
}

impl Memfd {
    /// Maps the memory of before, or makes new; with cells for each of these slots, in their order.
    pub(crate) fn open(
        name: &str,
        before: Option<OwnedFd>,
        slots: &[SlotKey],
    ) -> io::Result<(Self, Vec<SlotCells>)> {
        let file = match before {
            Some(file) => file,
            None => make(name)?,
        };
        grow(&file, CHUNKS_OFFSET)?;
        let directory = Self { mapping: Mapping::shared(&file, CHUNKS_OFFSET)?, descriptor: Cell::new(None) };
        slots.iter().filter(|slot| slot.reassigned).for_each(|slot| directory.forget_standby(slot));
        // One kind after the other: cells that are not used lie together.
        let users = slots.iter().filter_map(|slot| directory.cell(slot, 0)).collect::<Vec<_>>();
        let previews = slots.iter().filter_map(|slot| directory.cell(slot, PREVIEWS_WORD));
        let cells = users.into_iter().zip(previews).map(|(users, previews)| SlotCells { users, previews });
        let cells = cells.collect::<Vec<_>>();
        let last = cells.iter().map(|cells| cells.users.0.max(cells.previews.0)).max().unwrap_or(0) as usize;
        let size = CHUNKS_OFFSET + (last / CHUNK_CELLS + 1) * CHUNK_SIZE;
        grow(&file, size)?;
        Ok((Self { mapping: Mapping::shared(&file, size)?, descriptor: Cell::new(Some(file)) }, cells))
    }

    /// The choice was of the slot that had the id before.
    fn forget_standby(&self, slot: &SlotKey) {
        if let Some(chosen) = self.entry_word(slot.record, STANDBY_WORD) {
            let _ =
                chosen.compare_exchange(u32::from(slot.id.get()), 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// The cell of a slot, among those whose words begin there; a new one if it has none.
    fn cell(&self, slot: &SlotKey, words: usize) -> Option<CellId> {
        let entry = self.entry_word(slot.record, words + slot.id.index())?;
        let known = entry.load(Ordering::Acquire);
        if known != 0 && !slot.reassigned {
            return Some(CellId(known - 1));
        }
        let new = self.word(CELLS_OFFSET)?.fetch_add(1, Ordering::AcqRel);
        // Another master may have given it one meanwhile: theirs stays.
        match entry.compare_exchange(known, new + 1, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Some(CellId(new)),
            Err(theirs) => Some(CellId(theirs - 1)),
        }
    }

    /// Whether this is the memory's descriptor.
    pub(crate) fn uses(&self, fd: RawFd) -> bool {
        let descriptor = self.descriptor.take();
        let same = descriptor.as_ref().is_some_and(|descriptor| descriptor.as_raw_fd() == fd);
        self.descriptor.set(descriptor);
        same
    }

    /// The same memory for the next cycle.
    pub(crate) fn share(&self) -> Option<OwnedFd> {
        let descriptor = self.descriptor.take()?;
        let copy = descriptor.try_clone().ok();
        self.descriptor.set(Some(descriptor));
        copy.filter(|copy| descriptors::keep_over_exec(copy).is_ok())
    }

    /// Closes the descriptor; the mapping stays.
    pub(crate) fn close(&self) {
        self.descriptor.take();
    }

    pub(super) fn word(&self, offset: usize) -> Option<&AtomicU32> {
        let place = self.mapping.at(offset)?;
        // SAFETY: aligned to four bytes, and an atomic is valid with any bytes.
        Some(unsafe { place.cast().as_ref() })
    }

    /// A word of a group's entry in the directory.
    pub(super) fn entry_word(&self, record: u32, word: usize) -> Option<&AtomicU32> {
        self.word(entry_offset(record) + word * 4)
    }

    /// The bits of 64 shards: which of them has ever been written.
    pub(super) fn touched(&self, cell: CellId, index: usize) -> Option<&AtomicU64> {
        let within = cell.0 as usize % CHUNK_CELLS * TOUCHED_WORDS + index;
        let place = self.mapping.at(chunk_offset(cell) + within * 8)?;
        // SAFETY: aligned to eight bytes, and an atomic is valid with any bytes.
        Some(unsafe { place.cast().as_ref() })
    }

    pub(super) fn shard_at(&self, cell: CellId, shard: usize) -> Option<NonNull<Shard>> {
        let page = shard * CHUNK_CELLS + cell.0 as usize % CHUNK_CELLS;
        Some(self.mapping.at(chunk_offset(cell) + PAGE + page * SHARD_SIZE)?.cast())
    }
}

fn entry_offset(record: u32) -> usize {
    DIRECTORY_OFFSET + record as usize * ENTRY_WORDS * 4
}

fn chunk_offset(cell: CellId) -> usize {
    CHUNKS_OFFSET + cell.0 as usize / CHUNK_CELLS * CHUNK_SIZE
}

/// Newer kernels want to know that the memory holds no program; older ones do not know the word.
fn make(name: &str) -> io::Result<OwnedFd> {
    let file = match rustix::fs::memfd_create(name, MemfdFlags::NOEXEC_SEAL | MemfdFlags::ALLOW_SEALING) {
        Err(rustix::io::Errno::INVAL) => rustix::fs::memfd_create(name, MemfdFlags::ALLOW_SEALING)?,
        other => other?,
    };
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK)?;
    Ok(file)
}

/// Makes the file at least that long.
fn grow(file: &OwnedFd, size: usize) -> io::Result<()> {
    let long_enough = || Ok::<bool, io::Error>(rustix::fs::fstat(file)?.st_size as usize >= size);
    if long_enough()? {
        return Ok(());
    }
    match rustix::fs::ftruncate(file, size as u64) {
        // Another master has made it longer meanwhile: the seal keeps us from cutting it off.
        Err(rustix::io::Errno::PERM) if long_enough()? => Ok(()),
        other => Ok(other?),
    }
}
