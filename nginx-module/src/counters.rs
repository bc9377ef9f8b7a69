//! Counters of all groups, in memory that every process of this nginx shares.
//!
//! ```text
//! page 0          process ids, one for each shard: who writes it, or wrote it last
//! then, for each record of the state file, a block of SHARDS pages:
//!                 page s: 15 slots of one Shard each, written by the process that has claimed shard s
//! ```
//!
//! The memory is a file without a name (memfd): like the state file it is found again among the inherited descriptors, so
//! counts go on over a reload and a binary upgrade, and end with nginx. It only ever grows, and pages that nobody has
//! written cost nothing.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use cutover_core::counters::{self as counts, LAYOUT, Shard};
use cutover_core::route::SlotId;
use ngx::ffi::ngx_process_slot;
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, test_kill_process};

use crate::group::Group;
use crate::state::Identity;
use crate::state::inherited::{self, Origin};
use crate::state::mapping::Mapping;

/// Processes of one nginx that count apart, those of two masters during a binary upgrade included.
const SHARDS: usize = 256;
const PAGE: usize = 4096;

/// Bytes of one group's counters.
pub(crate) const BLOCK_SIZE: usize = SHARDS * PAGE;

const _: () = assert!(SlotId::MAX as usize * size_of::<Shard>() <= PAGE);
const _: () = assert!(SHARDS * size_of::<AtomicU32>() <= PAGE);

/// The mapped counters of one cycle.
pub(crate) struct Counters {
    memory: Mapping,
    /// Keeps the memory findable for the next cycle.
    descriptor: Cell<Option<OwnedFd>>,
}

impl Counters {
    /// Finds the memory of the cycle before, or makes new; with room for `capacity` groups.
    pub(crate) fn open(identity: Identity, capacity: u32, origin: Origin<'_>) -> io::Result<Self> {
        let name = format!("cutover:{LAYOUT}:{}:{}", identity.0, identity.1);
        let size = PAGE + capacity as usize * BLOCK_SIZE;
        let before = match origin {
            Origin::Cycle(Some(state)) => state.counters_of(identity),
            Origin::Cycle(None) | Origin::Exec => inherited::memory_file(&name, origin),
        };
        let file = match before {
            Some(file) => file,
            None => make(&name)?,
        };
        if (rustix::fs::fstat(&file)?.st_size as usize) < size {
            rustix::fs::ftruncate(&file, size as u64)?;
        }
        let memory = Mapping::shared(&file, size)?;
        Ok(Self { memory, descriptor: Cell::new(Some(file)) })
    }

    /// The counters of the group with this record.
    pub(crate) fn block(&self, record: u32) -> Option<Block> {
        let base = self.memory.at(PAGE + record as usize * BLOCK_SIZE)?;
        Some(Block { base, processes: self.memory.at(0)?.cast() })
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
    pub(crate) fn enter_worker(&self, groups: &[Box<Group>]) {
        let Some(processes) = groups.first().and_then(|group| group.counters.get()) else { return };
        // SAFETY: nginx sets it before it calls init_process.
        let first = usize::try_from(unsafe { ngx_process_slot }).unwrap_or(0);
        let shards = (first..first + SHARDS).map(|shard| shard % SHARDS);
        let Some(shard) = shards.into_iter().find(|shard| processes.claim(*shard)) else {
            // All taken by living processes: counting beside one of them is right, but a kill leaves a gauge behind.
            OWN.store(first % SHARDS, Ordering::Relaxed);
            return;
        };
        OWN.store(shard, Ordering::Relaxed);
        for block in groups.iter().filter_map(|group| group.counters.get()) {
            SlotId::all().for_each(|id| block.shard(shard, id).forget_in_flight());
        }
    }
}

/// Newer kernels want to know that the memory holds no program; older ones do not know the word.
fn make(name: &str) -> io::Result<OwnedFd> {
    match rustix::fs::memfd_create(name, MemfdFlags::NOEXEC_SEAL) {
        Err(rustix::io::Errno::INVAL) => Ok(rustix::fs::memfd_create(name, MemfdFlags::empty())?),
        other => Ok(other?),
    }
}

/// The shard that this process writes.
static OWN: AtomicUsize = AtomicUsize::new(0);

/// The counters of one group.
pub(crate) struct Block {
    base: NonNull<u8>,
    processes: NonNull<AtomicU32>,
}

impl Block {
    /// Where this process counts what happens to a slot.
    #[inline]
    pub(crate) fn own_shard(&self, id: SlotId) -> &Shard {
        self.shard(OWN.load(Ordering::Relaxed), id)
    }

    /// Sums what all processes have counted.
    pub(crate) fn sum(&self, id: SlotId) -> counts::Counters {
        let mut sum = counts::Counters::default();
        for shard in 0..SHARDS {
            let process = self.process(shard).load(Ordering::Relaxed);
            if process != 0 {
                self.shard(shard, id).add_to(&mut sum, is_alive(process));
            }
        }
        sum
    }

    fn claim(&self, shard: usize) -> bool {
        let own = std::process::id();
        let place = self.process(shard);
        let before = place.load(Ordering::Relaxed);
        let free = before == 0 || before == own || !is_alive(before);
        free && place.compare_exchange(before, own, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    #[inline]
    fn shard(&self, shard: usize, id: SlotId) -> &Shard {
        let offset = shard * PAGE + id.index() * size_of::<Shard>();
        // SAFETY: `shard` is below SHARDS and an id fits its page, so this is inside the block, which the mapping holds.
        let place = unsafe { self.base.add(offset) };
        // SAFETY: aligned to 64 bytes; a Shard is made of atomics, for which any bytes are valid.
        unsafe { place.cast().as_ref() }
    }

    fn process(&self, shard: usize) -> &AtomicU32 {
        // SAFETY: `shard` is below SHARDS, and page 0 holds that many ids.
        let place = unsafe { self.processes.add(shard) };
        // SAFETY: aligned, and an atomic is valid with any bytes.
        unsafe { place.as_ref() }
    }
}

/// Whether a process of this id exists; one that we may not signal exists too.
fn is_alive(process: u32) -> bool {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}
