//! One group at run time: its slots, where the state file has its route, and what this process remembers of it.

use std::cell::{Cell, OnceCell};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU16, Ordering};

use cutover_core::api::SlotNames;
use cutover_core::route::{Reading, RouteWord};
use cutover_core::shard::Shard;
use cutover_core::slot::SlotId;
use cutover_core::split::Dice;
use cutover_core::state_file::{CONFIGURED_OFFSET, Head, Names, configured_mask, record_offset};
use cutover_core::trial::TrialWords;
use ngx::ffi::ngx_http_complex_value_t;

use crate::callbacks::{Target, Usual};
use crate::ext::Place;
use crate::memory::Memory;
use crate::memory::memfd::{CellId, SlotCells};

mod counted;
mod events;

use counted::Counted;

/// The most slots a group may have.
pub(crate) const MAX_SLOTS: usize = 8;

/// One slot of the configuration.
pub(crate) struct Slot {
    pub(crate) name: String,
    /// The upstream's name as the configuration writes it; in a group of backend names, the backend's.
    pub(crate) upstream_name: String,
    pub(crate) place: Place,
    /// Found once all of the configuration is read.
    pub(crate) upstream: Cell<Option<Target>>,
    /// Given by the state file.
    pub(crate) id: Cell<Option<SlotId>>,
    /// Where requests of users are counted.
    pub(crate) users: Counted,
    /// Where previews are counted.
    pub(crate) previews: Counted,
    /// What the balancer and the protocol of most of its requests bring; found by this process with its first request.
    pub(crate) callbacks: OnceCell<Usual>,
}

impl Slot {
    pub(crate) fn new(name: String, upstream_name: String, place: Place) -> Self {
        Self {
            name,
            upstream_name,
            place,
            upstream: Cell::new(None),
            id: Cell::new(None),
            users: Counted::default(),
            previews: Counted::default(),
            callbacks: OnceCell::new(),
        }
    }

    /// Where it is counted.
    pub(crate) fn cells(&self) -> impl Iterator<Item = CellId> {
        [self.users.cell(), self.previews.cell()].into_iter().flatten()
    }
}

/// One group of the configuration. It lives as long as its cycle.
pub(crate) struct Group {
    pub(crate) name: String,
    /// `backend NAME`: the group is entered by `$cutover_upstream`, and its slots are names of backends.
    pub(crate) backend: Option<String>,
    pub(crate) slots: Vec<Slot>,
    /// Position of the slot that `active` names.
    pub(crate) initial: usize,
    pub(crate) place: Place,
    /// `split_key`; null: each request by itself.
    pub(crate) split_key: *mut ngx_http_complex_value_t,
    /// Its record; none while a configuration is only checked.
    mapped: OnceCell<Mapped>,
    pub(crate) process: InProcess,
}

/// The group's record in the state file, as it is mapped.
struct Mapped {
    /// Route and trial.
    head: NonNull<Head>,
    /// Counters and events.
    memory: NonNull<Memory>,
    record: u32,
    /// Position of each slot by id; [`UNKNOWN`] where there is none.
    by_id: [u8; SlotId::MAX as usize],
}

const UNKNOWN: u8 = u8::MAX;

/// What this process remembers from one request to the next.
#[derive(Default)]
pub(crate) struct InProcess {
    pub(crate) dice: Dice,
    /// The last generation in which this process has seen a request of a trial end badly.
    bad_generation: Cell<u32>,
    /// Position of the last slot that the route led to.
    pub(crate) last: Cell<usize>,
    /// The route's word that led there, if it leads all requests there, and whether it is on trial: most requests find the same
    /// word.
    pub(crate) decided: Cell<Option<(u64, bool)>>,
    /// Whether a route that cannot be followed was logged.
    pub(crate) logged_unknown: Cell<bool>,
}

impl Group {
    pub(crate) fn new(name: &str, place: Place) -> Self {
        Self {
            name: name.to_owned(),
            backend: None,
            slots: Vec::new(),
            initial: 0,
            place,
            split_key: ptr::null_mut(),
            mapped: OnceCell::new(),
            process: InProcess::default(),
        }
    }

    /// Points the group at its record, and each slot at its cells: those of the slots that have an id, in order.
    pub(crate) fn attach(
        &self,
        record: u32,
        names: &Names,
        memory: &Memory,
        cells: &mut impl Iterator<Item = SlotCells>,
    ) {
        let mut by_id = [UNKNOWN; SlotId::MAX as usize];
        for (position, slot) in (0u8..).zip(&self.slots) {
            let id = names.id_of(&slot.name);
            slot.id.set(id);
            let cells = id.and_then(|_| cells.next());
            slot.users.count_in(cells.map(|cells| cells.users));
            slot.previews.count_in(cells.map(|cells| cells.previews));
            if let Some(place) = id.and_then(|id| by_id.get_mut(id.index())) {
                *place = position;
            }
        }
        if let Some(head) = memory.routes.at(record_offset(record)) {
            let _ = self.mapped.set(Mapped { head: head.cast(), memory: memory.into(), record, by_id });
        }
        self.process.last.set(self.position_in(self.reading()).unwrap_or(self.initial));
    }

    /// Position of the slot of this name.
    pub(crate) fn position(&self, slot: &[u8]) -> Option<usize> {
        self.slots.iter().position(|known| known.name.as_bytes() == slot)
    }

    /// Position of the slot with this id.
    #[inline]
    pub(crate) fn position_of(&self, id: SlotId) -> Option<usize> {
        let position = self.mapped.get()?.by_id.get(id.index()).copied().unwrap_or(UNKNOWN);
        (position != UNKNOWN).then_some(usize::from(position))
    }

    /// The name of the slot with this id; empty if the configuration does not have it.
    pub(crate) fn name_of(&self, id: SlotId) -> &str {
        self.position_of(id).and_then(|at| self.slots.get(at)).map_or("", |slot| &slot.name)
    }

    #[inline]
    fn head(&self) -> Option<&Head> {
        // SAFETY: points into the mapping, which the configuration that owns this group keeps.
        self.mapped.get().map(|mapped| unsafe { mapped.head.as_ref() })
    }

    /// The word that decides, once the state file is mapped.
    #[inline]
    pub(crate) fn word(&self) -> Option<&RouteWord> {
        self.head().map(|head| &head.route)
    }

    /// The trial of the route, beside it.
    pub(crate) fn trial_words(&self) -> Option<&TrialWords> {
        self.head().map(|head| &head.trial)
    }

    /// Counters and events.
    pub(crate) fn memory(&self) -> Option<&Memory> {
        // SAFETY: boxed in the state that the configuration which owns this group keeps.
        self.mapped.get().map(|mapped| unsafe { mapped.memory.as_ref() })
    }

    /// The number of its record.
    pub(crate) fn record(&self) -> Option<u32> {
        self.mapped.get().map(|mapped| mapped.record)
    }

    /// What the route says.
    #[inline]
    pub(crate) fn reading(&self) -> Reading {
        self.word().map_or(Reading::Unset, RouteWord::load)
    }

    /// Whether the configuration that runs has the slot: a worker of the one before may know slots that are gone.
    pub(crate) fn is_configured(&self, slot: SlotId) -> bool {
        let Some(mapped) = self.mapped.get() else { return false };
        // SAFETY: a part of the record that begins with the head, and the mapping has whole records.
        let mask = unsafe { mapped.head.byte_add(CONFIGURED_OFFSET) }.cast::<AtomicU16>();
        // SAFETY: in the mapping, as the head is; the master writes the two bytes at once.
        let mask = unsafe { mask.as_ref() }.load(Ordering::SeqCst);
        u16::from_le(mask) & configured_mask(&[slot]) != 0
    }

    /// The name of the slot that the route means.
    pub(crate) fn active_name(&self) -> &str {
        self.name_in(self.reading())
    }

    /// The name of the slot that a reading of the route means.
    pub(crate) fn name_in(&self, reading: Reading) -> &str {
        let slot = self.position_in(reading).and_then(|slot| self.slots.get(slot));
        slot.or_else(|| self.known_before(reading)).map_or("", |slot| &slot.name)
    }

    /// The id of the slot that a reading of the route means.
    pub(crate) fn active_id(&self, reading: Reading) -> Option<SlotId> {
        let slot = self.position_in(reading).and_then(|slot| self.slots.get(slot));
        slot.or_else(|| self.known_before(reading))?.id.get()
    }

    /// The slot that a worker stays with when the route leads to one that its configuration does not have: the slot that had the
    /// traffic before, else the last one that this process has seen.
    pub(crate) fn known_before(&self, reading: Reading) -> Option<&Slot> {
        self.slots.get(self.position_before(reading))
    }

    /// Its position.
    pub(crate) fn position_before(&self, reading: Reading) -> usize {
        let before = match reading {
            Reading::Set(route) => self.word().and_then(|word| word.before(route)),
            Reading::Unset | Reading::Damaged => None,
        };
        before.and_then(|id| self.position_of(id)).unwrap_or(self.process.last.get())
    }

    /// Position of the slot that a reading of the route means; `None`: this configuration does not have it.
    #[inline]
    pub(crate) fn position_in(&self, reading: Reading) -> Option<usize> {
        match reading {
            Reading::Unset => Some(self.initial),
            Reading::Set(route) => self.position_of(route.to.active),
            Reading::Damaged => None,
        }
    }

    /// A request of the trial of this generation has ended badly, in this process.
    pub(crate) fn has_seen_bad(&self, generation: u32) {
        self.process.bad_generation.set(generation);
    }

    /// Whether one has.
    pub(crate) fn bad_was_seen(&self, generation: u32) -> bool {
        self.process.bad_generation.get() == generation
    }

    /// This process's counters of a slot for requests of users.
    #[inline]
    pub(crate) fn shard(&self, slot: usize) -> Option<&Shard> {
        self.shard_of(&self.slots.get(slot)?.users)
    }

    /// This process's counters of a slot for previews.
    #[cold]
    pub(crate) fn preview_shard(&self, slot: usize) -> Option<&Shard> {
        self.shard_of(&self.slots.get(slot)?.previews)
    }

    #[inline]
    fn shard_of(&self, counted: &Counted) -> Option<&Shard> {
        let shard = counted.shard(|| Some(&self.memory()?.memfd))?;
        // SAFETY: a page of the memory that the configuration which owns this group keeps; made of atomics.
        Some(unsafe { shard.as_ref() })
    }
}

impl SlotNames for Group {
    fn group(&self) -> &str {
        &self.name
    }

    fn id_of(&self, slot: &str) -> Option<SlotId> {
        self.slots.get(self.position(slot.as_bytes())?)?.id.get()
    }

    fn all(&self) -> Vec<&str> {
        self.slots.iter().map(|slot| slot.name.as_str()).collect()
    }

    fn can_rescue(&self) -> bool {
        self.backend.is_none()
    }
}
