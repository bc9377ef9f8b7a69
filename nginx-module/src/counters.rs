//! Counters of all groups, in memory that every process of this nginx shares.
//!
//! ```text
//! page 0          process ids, one for each shard: who writes it, or wrote it last
//! then, for each record of the state file, a block of SHARDS pages:
//!                 page s: 15 slots of one Shard each, written by the process in slot s of nginx's process table
//! ```
//!
//! The memory is a file without a name (memfd): like the state file it is found again among the inherited descriptors, so
//! counts go on over a reload and a binary upgrade, and end with nginx. It only ever grows, and pages that nobody has
//! written cost nothing.

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use cutover_core::counters::{self as counts, LAYOUT, Shard};
use cutover_core::route::SlotId;
use ngx::ffi::ngx_process_slot;
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, test_kill_process};

use crate::group::Group;
use crate::state::Identity;
use crate::state::inherited::{self, Origin};
use crate::state::mapping::Mapping;

/// Processes of one nginx that count apart; more share shards, and then a killed one may leave its gauge behind.
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
    pub(crate) fn open(state: Identity, capacity: u32, origin: Origin) -> io::Result<Self> {
        let name = format!("cutover:{LAYOUT}:{}:{}", state.0, state.1);
        let size = PAGE + capacity as usize * BLOCK_SIZE;
        let file = match inherited::memory_file(&name, origin) {
            Some(file) => file,
            None => rustix::fs::memfd_create(name, MemfdFlags::empty())?,
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
        Some(Block { base, processes: self.memory.at(0)?.cast(), own: Cell::new(0) })
    }

    /// See [`crate::state::State::leave_master`].
    pub(crate) fn leave_master(&self) {
        self.descriptor.take();
    }

    /// Begins to count as this process. Requests that the process before it in this place did not live to finish are
    /// forgotten.
    pub(crate) fn enter_worker(&self, groups: &[Box<Group>]) {
        // SAFETY: nginx sets it before it calls init_process.
        let slot = unsafe { ngx_process_slot };
        let shard = usize::try_from(slot).unwrap_or(0) % SHARDS;
        for group in groups {
            let Some(block) = group.counters.get() else { continue };
            if block.process(shard).load(Ordering::Relaxed) != 0 {
                SlotId::all().for_each(|id| block.shard(shard, id).forget_in_flight());
            }
            block.own.set(shard);
        }
        if let Some(block) = groups.first().and_then(|group| group.counters.get()) {
            block.process(shard).store(std::process::id(), Ordering::Relaxed);
        }
    }
}

/// The counters of one group.
pub(crate) struct Block {
    base: NonNull<u8>,
    processes: NonNull<AtomicU32>,
    /// The shard that this process writes.
    own: Cell<usize>,
}

impl Block {
    /// Where this process counts what happens to a slot.
    #[inline]
    pub(crate) fn own_shard(&self, id: SlotId) -> &Shard {
        self.shard(self.own.get(), id)
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
