//! Counters of all groups, in memory that every process of this nginx shares.
//!
//! ```text
//! page 0        process ids, one for each shard: who writes it, or wrote it last;
//!               then cells given out | changes of trials | who left
//! directory     for each record of the state file 32 words: the cell of each slot id, how many events the group had, and the
//!               id of the slot that was chosen to stand by
//! chunk 0       page 0: for each of 64 cells a bit for each shard: whether it has ever been written
//!               then for each shard 64 pages: one Shard for each cell, written by the process that has claimed the shard
//! chunk 1       ..
//! ```
//!
//! The memory is a file without a name (memfd): like the state file it is found again among the inherited descriptors, so
//! counts go on over a reload and a binary upgrade, and end with nginx. It only ever grows, which the kernel sees to, and
//! pages that nobody has touched cost nothing: so nobody reads a page whose bit is not set.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use cutover_core::guard::{Figures, Moment};
use cutover_core::route::SlotId;
use cutover_core::shard::{LAYOUT, SHARD_SIZE, Shard, Sum};
use cutover_core::state_file::MAX_CAPACITY;
use ngx::ffi::{NGX_LOG_WARN, ngx_log_t, ngx_process_slot};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::process::{Pid, test_kill_process};

use crate::ext;
use crate::group::Group;
use crate::state::Identity;
use crate::state::inherited::{self, Origin};
use crate::state::mapping::Mapping;

/// Processes of one nginx that count apart, those of two masters during a binary upgrade and of earlier cycles included.
/// The last shard is for any that come too late: they count there together.
const SHARDS: usize = 512;
const CROWD: usize = SHARDS - 1;
const PAGE: usize = 4096;

/// Cells of a chunk: what one process touches of a chunk lies together, and so costs few page tables.
const CHUNK_CELLS: usize = 64;
const CHUNK_SIZE: usize = PAGE + SHARDS * CHUNK_CELLS * SHARD_SIZE;
const TOUCHED_WORDS: usize = SHARDS / 64;

const ENTRY_WORDS: usize = 32;
const EVENTS_WORD: usize = SlotId::MAX as usize;
const STANDBY_WORD: usize = EVENTS_WORD + 1;
const DIRECTORY_OFFSET: usize = PAGE;
const CHUNKS_OFFSET: usize = DIRECTORY_OFFSET + MAX_CAPACITY as usize * ENTRY_WORDS * 4;

const CELLS_OFFSET: usize = SHARDS * 4;
const CHANGES_OFFSET: usize = CELLS_OFFSET + 4;
const LEFT_OFFSET: usize = CHANGES_OFFSET + 4;

const _: () = assert!(LEFT_OFFSET + 4 <= PAGE);
const _: () = assert!(STANDBY_WORD < ENTRY_WORDS);
const _: () = assert!(CHUNK_CELLS * TOUCHED_WORDS * 8 == PAGE);
const _: () = assert!(CHUNKS_OFFSET.is_multiple_of(PAGE));

/// Where the counters of a slot are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CellId(u32);

/// The mapped counters of one cycle.
pub(crate) struct Counters {
    memory: Mapping,
    /// Keeps the memory findable for the next cycle.
    descriptor: Cell<Option<OwnedFd>>,
}

/// What a configuration needs a cell for.
pub(crate) struct WantedCell {
    pub(crate) record: u32,
    pub(crate) id: SlotId,
    /// The id has gone to another slot: its counters begin anew.
    pub(crate) fresh: bool,
}

impl Counters {
    /// Finds the memory of the cycle before, or makes new; with a cell for each of `wanted`, in their order.
    pub(crate) fn open(
        identity: Identity,
        wanted: &[WantedCell],
        origin: Origin<'_>,
    ) -> io::Result<(Self, Vec<CellId>)> {
        let name = format!("cutover:{LAYOUT}:{}:{}", identity.0, identity.1);
        let before = match origin {
            Origin::Cycle(Some(state)) => state.counters_of(identity),
            Origin::Cycle(None) | Origin::Exec => inherited::memory_file(&name, origin),
        };
        let file = match before {
            Some(file) => file,
            None => make(&name)?,
        };
        grow(&file, CHUNKS_OFFSET)?;
        let directory = Self { memory: Mapping::shared(&file, CHUNKS_OFFSET)?, descriptor: Cell::new(None) };
        let cells: Vec<CellId> = wanted.iter().filter_map(|wanted| directory.cell(wanted)).collect();
        let last = cells.iter().map(|cell| cell.0 as usize).max().unwrap_or(0);
        let size = CHUNKS_OFFSET + (last / CHUNK_CELLS + 1) * CHUNK_SIZE;
        grow(&file, size)?;
        Ok((Self { memory: Mapping::shared(&file, size)?, descriptor: Cell::new(Some(file)) }, cells))
    }

    /// The cell of a slot; a new one if it has none.
    fn cell(&self, wanted: &WantedCell) -> Option<CellId> {
        let entry = self.word(entry_offset(wanted.record) + wanted.id.index() * 4)?;
        let known = entry.load(Ordering::Acquire);
        if known != 0 && !wanted.fresh {
            return Some(CellId(known - 1));
        }
        if let Some(chosen) = self.word(entry_offset(wanted.record) + STANDBY_WORD * 4) {
            // It was another slot that was chosen by this id.
            let _ =
                chosen.compare_exchange(u32::from(wanted.id.get()), 0, Ordering::Relaxed, Ordering::Relaxed);
        }
        let new = self.word(CELLS_OFFSET)?.fetch_add(1, Ordering::AcqRel);
        // Another master may have given it one meanwhile: theirs stays.
        match entry.compare_exchange(known, new + 1, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Some(CellId(new)),
            Err(theirs) => Some(CellId(theirs - 1)),
        }
    }

    /// How many events the group of this record has had.
    pub(crate) fn events(&self, record: u32) -> Option<&AtomicU32> {
        self.word(entry_offset(record) + EVENTS_WORD * 4)
    }

    /// The slot that was chosen to stand by.
    pub(crate) fn standby(&self, record: u32) -> Option<SlotId> {
        let chosen = self.word(entry_offset(record) + STANDBY_WORD * 4)?.load(Ordering::Relaxed);
        SlotId::new(u8::try_from(chosen).ok()?)
    }

    /// Chooses it.
    pub(crate) fn choose_standby(&self, record: u32, id: SlotId) {
        if let Some(word) = self.word(entry_offset(record) + STANDBY_WORD * 4) {
            word.store(u32::from(id.get()), Ordering::Relaxed);
        }
    }

    /// How many trials have begun: whoever looks after trials looks again when it has changed.
    pub(crate) fn changes(&self) -> Option<&AtomicU32> {
        self.word(CHANGES_OFFSET)
    }

    /// Tells the workers of this master that it has left the state folder; those of another one, in a binary upgrade, stay.
    pub(crate) fn leave_behind(&self) {
        if let Some(left) = self.word(LEFT_OFFSET) {
            left.store(ext::master_pid().cast_unsigned(), Ordering::SeqCst);
        }
    }

    /// This master has come back to it.
    pub(crate) fn come_back(&self) {
        if let Some(left) = self.word(LEFT_OFFSET) {
            let own = ext::master_pid().cast_unsigned();
            let _ = left.compare_exchange(own, 0, Ordering::SeqCst, Ordering::SeqCst);
        }
    }

    /// Whether the master of this process has left.
    pub(crate) fn is_left_behind(&self) -> bool {
        let own = ext::master_pid().cast_unsigned();
        self.word(LEFT_OFFSET).is_some_and(|left| left.load(Ordering::SeqCst) == own)
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
        copy.filter(|copy| inherited::keep_over_exec(copy).is_ok())
    }

    /// See [`crate::state::State::leave_master`].
    pub(crate) fn leave_master(&self) {
        self.descriptor.take();
    }

    /// Finds a shard for this process, which counts there from now on.
    ///
    /// Not by nginx's process slot alone: during a binary upgrade two masters give out the same ones. A shard whose process
    /// is dead is taken over, and requests that it did not live to finish are forgotten.
    pub(crate) fn enter_worker(&self, groups: &[Box<Group>], log: *mut ngx_log_t) {
        if OWN.load(Ordering::Relaxed) != NONE {
            // One process for all cycles (master_process off): what it holds, it still holds.
            return;
        }
        // SAFETY: nginx sets it before it calls init_process.
        let first = usize::try_from(unsafe { ngx_process_slot }).unwrap_or(0);
        let mut shards = (first..first + CROWD).map(|shard| shard % CROWD);
        let Some(own) = shards.find(|shard| self.claim(*shard)) else {
            self.claim(CROWD);
            OWN.store(CROWD, Ordering::Relaxed);
            ext::log(
                NGX_LOG_WARN,
                log,
                format_args!(
                    "cutover: more than {CROWD} processes count at once; this one's counts are approximate"
                ),
            );
            return;
        };
        OWN.store(own, Ordering::Relaxed);
        for cell in groups.iter().flat_map(|group| &group.slots).filter_map(|slot| slot.cell.get()) {
            if let Some(shard) = self.touched_shard(cell, own) {
                shard.forget_in_flight();
            }
        }
    }

    /// Where this process counts what happens to a slot. To be asked once for each slot.
    pub(crate) fn own_shard(&self, cell: CellId) -> Option<NonNull<Shard>> {
        let own = OWN.load(Ordering::Relaxed);
        let place = self.shard_at(cell, own)?;
        self.touched(cell, own / 64)?.fetch_or(1 << (own % 64), Ordering::AcqRel);
        Some(place)
    }

    /// Which processes live; one answer for all sums of a call.
    pub(crate) fn living(&self) -> Living {
        let mut living = [0; TOUCHED_WORDS];
        for (index, word) in living.iter_mut().enumerate() {
            *word =
                (0..64).filter(|bit| self.is_living(index * 64 + bit)).fold(0, |word, bit| word | 1 << bit);
        }
        Living(living)
    }

    /// Sums what all processes have counted; `None`: nothing yet.
    pub(crate) fn sum(&self, cell: CellId, living: &Living) -> Option<Sum> {
        let mut sum = None;
        for (shard, index) in self.touched_shards(cell) {
            shard.add_to(sum.get_or_insert_default(), living.has(index));
        }
        sum
    }

    /// What the slot has done in the window that ends now.
    pub(crate) fn window(&self, cell: CellId, at: Moment) -> Figures {
        let mut figures = Figures::default();
        self.touched_shards(cell).for_each(|(shard, _)| shard.window.add_to(&mut figures, at));
        figures
    }

    fn touched_shards(&self, cell: CellId) -> impl Iterator<Item = (&Shard, usize)> {
        (0..TOUCHED_WORDS).flat_map(move |index| {
            let word = self.touched(cell, index).map_or(0, |word| word.load(Ordering::Acquire));
            let set = (0..64).filter(move |bit| word >> bit & 1 != 0).map(move |bit| index * 64 + bit);
            set.filter_map(move |shard| Some((self.shard_ref(cell, shard)?, shard)))
        })
    }

    fn touched_shard(&self, cell: CellId, shard: usize) -> Option<&Shard> {
        let word = self.touched(cell, shard / 64)?.load(Ordering::Acquire);
        if word >> (shard % 64) & 1 != 0 { self.shard_ref(cell, shard) } else { None }
    }

    fn claim(&self, shard: usize) -> bool {
        let Some(place) = self.word(shard * 4) else { return false };
        let before = place.load(Ordering::Relaxed);
        let own = std::process::id();
        let free = before == 0 || before == own || !is_alive(before);
        free && place.compare_exchange(before, own, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// The crowd's gauges drift: nobody is taken for their process.
    fn is_living(&self, shard: usize) -> bool {
        let process = self.word(shard * 4).map_or(0, |word| word.load(Ordering::Relaxed));
        shard != CROWD && process != 0 && is_alive(process)
    }

    fn word(&self, offset: usize) -> Option<&AtomicU32> {
        let place = self.memory.at(offset)?;
        // SAFETY: aligned to four bytes, and an atomic is valid with any bytes.
        Some(unsafe { place.cast().as_ref() })
    }

    fn touched(&self, cell: CellId, index: usize) -> Option<&AtomicU64> {
        let within = cell.0 as usize % CHUNK_CELLS * TOUCHED_WORDS + index;
        let place = self.memory.at(chunk_offset(cell) + within * 8)?;
        // SAFETY: aligned to eight bytes, and an atomic is valid with any bytes.
        Some(unsafe { place.cast().as_ref() })
    }

    fn shard_at(&self, cell: CellId, shard: usize) -> Option<NonNull<Shard>> {
        let page = shard * CHUNK_CELLS + cell.0 as usize % CHUNK_CELLS;
        Some(self.memory.at(chunk_offset(cell) + PAGE + page * SHARD_SIZE)?.cast())
    }

    fn shard_ref(&self, cell: CellId, shard: usize) -> Option<&Shard> {
        let place = self.shard_at(cell, shard)?;
        // SAFETY: a page of the mapping, which `self` holds; a Shard is made of atomics, for which any bytes are valid.
        Some(unsafe { place.as_ref() })
    }
}

fn entry_offset(record: u32) -> usize {
    DIRECTORY_OFFSET + record as usize * ENTRY_WORDS * 4
}

fn chunk_offset(cell: CellId) -> usize {
    CHUNKS_OFFSET + cell.0 as usize / CHUNK_CELLS * CHUNK_SIZE
}

/// Shards whose process lives, one bit each.
pub(crate) struct Living([u64; TOUCHED_WORDS]);

impl Living {
    fn has(&self, shard: usize) -> bool {
        self.0.get(shard / 64).is_some_and(|word| word >> (shard % 64) & 1 != 0)
    }
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

/// No shard yet.
const NONE: usize = usize::MAX;

/// The shard that this process writes.
static OWN: AtomicUsize = AtomicUsize::new(NONE);

/// Whether a process of this id exists; one that we may not signal exists too.
fn is_alive(process: u32) -> bool {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}
