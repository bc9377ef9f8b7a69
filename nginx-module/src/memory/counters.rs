//! The counters of the slots: each process writes a shard of its own, and a reader sums all of them.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

use cutover_core::counters::Previews;
use cutover_core::guard::{Figures, Moment};
use cutover_core::shard::{Shard, Sum};
use ngx::ffi::{NGX_LOG_WARN, ngx_log_t, ngx_process_slot};
use rustix::process::{Pid, test_kill_process};

use super::memfd::{CellId, Memfd, OVERFLOW, TOUCHED_WORDS};
use crate::ext;

impl Memfd {
    /// Finds a shard for this process, which counts there from now on: in these cells.
    ///
    /// Not by nginx's process slot alone: during a binary upgrade two masters give out the same ones. A shard whose process
    /// is dead is taken over, and requests that it did not live to finish are forgotten.
    pub(super) fn enter_worker(&self, cells: impl Iterator<Item = CellId>, log: *mut ngx_log_t) {
        if OWN.load(Ordering::Relaxed) != NONE {
            // One process for all cycles (master_process off): what it holds, it still holds.
            return;
        }
        // SAFETY: nginx sets it before it calls init_process.
        let first = usize::try_from(unsafe { ngx_process_slot }).unwrap_or(0);
        let mut shards = (first..first + OVERFLOW).map(|shard| shard % OVERFLOW);
        let Some(own) = shards.find(|shard| self.claim(*shard)) else {
            self.claim(OVERFLOW);
            OWN.store(OVERFLOW, Ordering::Relaxed);
            ext::log(
                NGX_LOG_WARN,
                log,
                format_args!(
                    "cutover: more than {OVERFLOW} processes count at once; this one's counts are approximate"
                ),
            );
            return;
        };
        OWN.store(own, Ordering::Relaxed);
        for cell in cells {
            if let Some(shard) = self.touched_shard(cell, own) {
                shard.forget_in_flight();
            }
        }
    }

    /// Where this process counts what happens to a slot. Asked once for each slot.
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

    /// The same for a cell of previews.
    pub(crate) fn previews(&self, cell: CellId, living: &Living) -> Option<Previews> {
        let mut sum = None;
        for (shard, index) in self.touched_shards(cell) {
            shard.add_previews_to(sum.get_or_insert_default(), living.has(index));
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

    /// The last shard has no process of its own, and its gauges drift.
    fn is_living(&self, shard: usize) -> bool {
        let process = self.word(shard * 4).map_or(0, |word| word.load(Ordering::Relaxed));
        shard != OVERFLOW && process != 0 && is_alive(process)
    }

    fn shard_ref(&self, cell: CellId, shard: usize) -> Option<&Shard> {
        let place = self.shard_at(cell, shard)?;
        // SAFETY: a page of the mapping, which `self` holds; a Shard is made of atomics, for which any bytes are valid.
        Some(unsafe { place.as_ref() })
    }
}

/// Shards whose process lives, one bit each.
pub(crate) struct Living([u64; TOUCHED_WORDS]);

impl Living {
    fn has(&self, shard: usize) -> bool {
        self.0.get(shard / 64).is_some_and(|word| word >> (shard % 64) & 1 != 0)
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
