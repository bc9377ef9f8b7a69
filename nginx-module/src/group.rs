//! One group at run time: its slots, and which of them takes a new request.

use std::cell::{Cell, OnceCell};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU16, Ordering};

use cutover_core::api::{SlotNames, next_standby};
use cutover_core::route::{Reading, Route, RouteWord, SlotId};
use cutover_core::shard::Shard;
use cutover_core::split::{Dice, Draw, Split};
use cutover_core::state_file::{Head, configured_mask};
use cutover_core::trial::TrialWords;
use ngx::ffi::{NGX_LOG_ALERT, NGX_LOG_WARN, ngx_http_complex_value_t, ngx_log_t};

use crate::counters::CellId;
use crate::ext::{self, Place};
use crate::state::Shared;
use crate::upstream::{Target, Usual};

/// The most slots a group may have.
pub(crate) const MAX_SLOTS: usize = 8;

/// One slot of the configuration.
pub(crate) struct Slot {
    pub(crate) name: String,
    /// The upstream's name as the configuration writes it; in a group of backend names, the backend's.
    pub(crate) upstream_name: String,
    /// Found once all of the configuration is read.
    pub(crate) upstream: Cell<Option<Target>>,
    /// Given by the state file.
    pub(crate) id: Cell<Option<SlotId>>,
    /// Where it is counted.
    pub(crate) cell: Cell<Option<CellId>>,
    /// Where this process counts it; found with its first request.
    shard: Cell<Option<NonNull<Shard>>>,
    /// What the balancer and the protocol of most of its requests bring.
    pub(crate) callbacks: OnceCell<Usual>,
    pub(crate) place: Place,
}

impl Slot {
    pub(crate) fn new(name: String, upstream_name: String, place: Place) -> Self {
        Self {
            name,
            upstream_name,
            upstream: Cell::new(None),
            id: Cell::new(None),
            cell: Cell::new(None),
            shard: Cell::new(None),
            callbacks: OnceCell::new(),
            place,
        }
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
    /// Record of the group in the state file.
    pub(crate) record: Cell<u32>,
    /// Route and trial, in the mapped state file; none while a configuration is only checked.
    pub(crate) head: Cell<Option<NonNull<Head>>>,
    /// Counters and events.
    pub(crate) shared: Cell<Option<NonNull<Shared>>>,
    /// In the mapped state file: the slots of the configuration that runs.
    pub(crate) configured: Cell<Option<NonNull<AtomicU16>>>,
    pub(crate) dice: Dice,
    /// Position of each slot by id; [`UNKNOWN`] where there is none.
    by_id: Cell<[u8; SlotId::MAX as usize]>,
    /// The last generation in which this process has seen a request of a trial end badly.
    bad_generation: Cell<u32>,
    /// The last slot that the route led to.
    last: Cell<usize>,
    /// The route's word that led there, if it leads all requests there, and whether it is on trial: most requests find the same
    /// word.
    decided: Cell<Option<(u64, bool)>>,
    complained: Cell<bool>,
}

const UNKNOWN: u8 = u8::MAX;

/// A slot that was chosen for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Position in [`Group::slots`].
    pub(crate) slot: usize,
    /// The route's generation when it was chosen.
    pub(crate) generation: u32,
    pub(crate) by: By,
    /// Whether it was made for an earlier part of the same request.
    pub(crate) inherited: bool,
}

/// What a slot was chosen by.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The route.
    Route,
    /// The route while it was on trial.
    Trial,
    /// `cutover_slot standby`.
    Standby,
    /// `cutover_slot NAME`.
    Name,
}

impl By {
    /// Whether the request belongs to a trial: guard and rescue are for those alone.
    #[inline]
    pub(crate) fn is_on_trial(self) -> bool {
        self == Self::Trial
    }

    /// Whether the route has decided, on trial or not.
    #[inline]
    pub(crate) fn is_route(self) -> bool {
        matches!(self, Self::Route | Self::Trial)
    }
}

impl Choice {
    /// What the route says now.
    #[inline]
    fn by_route(slot: usize, generation: u32, on_trial: bool) -> Self {
        let by = if on_trial { By::Trial } else { By::Route };
        Self { slot, generation, by, inherited: false }
    }
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
            record: Cell::new(0),
            head: Cell::new(None),
            shared: Cell::new(None),
            configured: Cell::new(None),
            dice: Dice::default(),
            by_id: Cell::new([UNKNOWN; SlotId::MAX as usize]),
            bad_generation: Cell::new(0),
            last: Cell::new(0),
            decided: Cell::new(None),
            complained: Cell::new(false),
        }
    }

    /// Position of the slot of this name.
    pub(crate) fn position(&self, slot: &[u8]) -> Option<usize> {
        self.slots.iter().position(|known| known.name.as_bytes() == slot)
    }

    /// Position of the slot with this id.
    #[inline]
    pub(crate) fn position_of(&self, id: SlotId) -> Option<usize> {
        let position = self.by_id.get().get(id.index()).copied().unwrap_or(UNKNOWN);
        (position != UNKNOWN).then_some(usize::from(position))
    }

    /// The name of the slot with this id; empty if the configuration does not have it.
    pub(crate) fn name_of(&self, id: SlotId) -> &str {
        self.position_of(id).and_then(|at| self.slots.get(at)).map_or("", |slot| &slot.name)
    }

    /// The slots have got their ids: from now on they are found by them.
    pub(crate) fn index_slots(&self) {
        let mut by_id = [UNKNOWN; SlotId::MAX as usize];
        for (position, slot) in (0u8..).zip(&self.slots) {
            if let Some(place) = slot.id.get().and_then(|id| by_id.get_mut(id.index())) {
                *place = position;
            }
        }
        self.by_id.set(by_id);
        self.last.set(self.position_in(self.reading()).unwrap_or(self.initial));
    }

    #[inline]
    fn head(&self) -> Option<&Head> {
        // SAFETY: points into the mapping, which the configuration that owns this group keeps.
        self.head.get().map(|head| unsafe { head.as_ref() })
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
    pub(crate) fn shared(&self) -> Option<&Shared> {
        // SAFETY: boxed in the state that the configuration which owns this group keeps.
        self.shared.get().map(|shared| unsafe { shared.as_ref() })
    }

    /// What the route says.
    #[inline]
    pub(crate) fn reading(&self) -> Reading {
        self.word().map_or(Reading::Unset, RouteWord::load)
    }

    /// Whether the configuration that runs has the slot: a worker of the one before may know slots that are gone.
    pub(crate) fn is_configured(&self, slot: SlotId) -> bool {
        // SAFETY: points into the mapping, as the word does; the master writes the two bytes at once.
        let mask = self.configured.get().map(|mask| unsafe { mask.as_ref() }.load(Ordering::SeqCst));
        mask.is_some_and(|mask| u16::from_le(mask) & configured_mask(&[slot]) != 0)
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

    /// What [`choose`](Self::choose) decided for the last request, if the route still says the same.
    #[inline]
    pub(crate) fn decided(&self) -> Option<Choice> {
        let (word, on_trial) = self.decided.get()?;
        let generation = RouteWord::generation_of(word);
        (self.word()?.bits() == word).then(|| Choice::by_route(self.last.get(), generation, on_trial))
    }

    /// The slot that the route gives a new request; `draw` is asked when there is a split.
    ///
    /// An old worker that finishes its requests after a reload may find a slot that it does not have: it stays with the one
    /// that had the traffic before. So does any worker when the word cannot be read. Either is said once.
    pub(crate) fn choose(
        &self,
        reading: Reading,
        log: *mut ngx_log_t,
        draw: impl FnOnce() -> Draw,
    ) -> Choice {
        let position = match reading {
            Reading::Set(Route { to, .. }) if to.split.is_some() => {
                let id = to.split.filter(|split| split.takes(draw())).map_or(to.active, Split::second);
                self.position_of(id)
            }
            _ => self.position_in(reading),
        };
        let on_trial = matches!(reading, Reading::Set(route) if route.to.armed);
        let choice = |slot| Choice::by_route(slot, reading.generation(), on_trial);
        let Some(slot) = position else { return choice(self.complain(reading, log)) };
        self.last.set(slot);
        let word = match reading {
            Reading::Unset => Some(0),
            // A split is drawn for each request.
            Reading::Set(route) => Some(route.encode()).filter(|_| route.to.split.is_none()),
            Reading::Damaged => None,
        };
        self.decided.set(word.map(|word| (word, on_trial)));
        choice(slot)
    }

    /// The slot that would take over; see [`next_standby`].
    pub(crate) fn standby(&self, reading: Reading, log: *mut ngx_log_t) -> Choice {
        let second = match reading {
            Reading::Set(route) => route.to.split.and_then(|split| self.position_of(split.second())),
            Reading::Unset | Reading::Damaged => None,
        };
        let active = match self.position_in(reading) {
            Some(slot) => slot,
            None => self.complain(reading, log),
        };
        let chosen = self.shared().and_then(|shared| shared.counters.standby(self.record.get()));
        let chosen = chosen.and_then(|id| self.position_of(id));
        let slot = next_standby(active, self.slots.len(), second, chosen);
        Choice { slot, generation: reading.generation(), by: By::Standby, inherited: false }
    }

    /// A request of the trial of this generation has ended badly, in this process.
    pub(crate) fn has_seen_bad(&self, generation: u32) {
        self.bad_generation.set(generation);
    }

    /// Whether one has.
    pub(crate) fn bad_was_seen(&self, generation: u32) -> bool {
        self.bad_generation.get() == generation
    }

    /// This process's counters of a slot.
    #[inline]
    pub(crate) fn shard(&self, slot: usize) -> Option<&Shard> {
        let slot = self.slots.get(slot)?;
        let shard = match slot.shard.get() {
            Some(shard) => shard,
            None => self.find_shard(slot)?,
        };
        // SAFETY: a page of the memory that the configuration which owns this group keeps; made of atomics.
        Some(unsafe { shard.as_ref() })
    }

    #[cold]
    fn find_shard(&self, slot: &Slot) -> Option<NonNull<Shard>> {
        let shard = self.shared()?.counters.own_shard(slot.cell.get()?)?;
        slot.shard.set(Some(shard));
        Some(shard)
    }

    /// When the route leads to a place that this configuration does not know: the slot that had the traffic before, or else
    /// the last one that this process has seen.
    pub(crate) fn known_before(&self, reading: Reading) -> Option<&Slot> {
        self.slots.get(self.position_before(reading))
    }

    fn position_before(&self, reading: Reading) -> usize {
        let before = match reading {
            Reading::Set(route) => self.word().and_then(|word| word.before(route)),
            Reading::Unset | Reading::Damaged => None,
        };
        before.and_then(|id| self.position_of(id)).unwrap_or(self.last.get())
    }

    #[inline]
    fn position_in(&self, reading: Reading) -> Option<usize> {
        match reading {
            Reading::Unset => Some(self.initial),
            Reading::Set(route) => self.position_of(route.to.active),
            Reading::Damaged => None,
        }
    }

    #[cold]
    fn complain(&self, reading: Reading, log: *mut ngx_log_t) -> usize {
        if !self.complained.replace(true) {
            let what = match reading {
                Reading::Damaged => "cannot be read",
                Reading::Set(_) | Reading::Unset => {
                    "leads to a slot that this worker's configuration does not have"
                }
            };
            let level = if reading == Reading::Damaged { NGX_LOG_ALERT } else { NGX_LOG_WARN };
            ext::log(
                level,
                log,
                format_args!(
                    "cutover: the route of group \"{}\" {what}; it stays on \"{}\"",
                    self.name,
                    self.name_in(reading)
                ),
            );
        }
        self.position_before(reading)
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
