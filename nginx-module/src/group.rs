//! One group at run time: its slots, and which of them takes a new request.

use std::cell::{Cell, OnceCell};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use cutover_core::counters::Shard;
use cutover_core::route::{Reading, RouteWord, SlotId};
use cutover_core::state_file::configured_mask;
use ngx::ffi::{NGX_LOG_ALERT, NGX_LOG_WARN, ngx_http_upstream_srv_conf_t, ngx_log_t};

use crate::counters;
use crate::ext::{self, Place};

/// The most slots a group may have.
pub(crate) const MAX_SLOTS: usize = 8;

/// One slot of the configuration.
pub(crate) struct Slot {
    pub(crate) name: String,
    /// The upstream's name as the configuration writes it.
    pub(crate) upstream_name: String,
    /// Found once all of the configuration is read.
    pub(crate) upstream: Cell<Option<NonNull<ngx_http_upstream_srv_conf_t>>>,
    /// Given by the state file.
    pub(crate) id: Cell<Option<SlotId>>,
    pub(crate) place: Place,
}

/// One group of the configuration. It lives as long as its cycle.
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) slots: Vec<Slot>,
    /// Position of the slot that `active` names.
    pub(crate) initial: usize,
    pub(crate) place: Place,
    /// In the mapped state file; none while a configuration is only checked.
    pub(crate) word: Cell<Option<NonNull<RouteWord>>>,
    /// Record of the group in the state file, and so its place among the counters.
    pub(crate) record: Cell<u32>,
    pub(crate) counters: OnceCell<counters::Block>,
    /// In the mapped state file: the slots of the configuration that runs.
    pub(crate) configured: Cell<Option<NonNull<AtomicU16>>>,
    /// The last slot that the route led to.
    last: Cell<usize>,
    complained: Cell<bool>,
}

/// A slot that was chosen for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Position in [`Group::slots`].
    pub(crate) slot: usize,
    /// The route's generation when it was chosen.
    pub(crate) generation: u32,
}

impl Group {
    pub(crate) fn new(name: &str, place: Place) -> Self {
        Self {
            name: name.to_owned(),
            slots: Vec::new(),
            initial: 0,
            place,
            word: Cell::new(None),
            record: Cell::new(0),
            counters: OnceCell::new(),
            configured: Cell::new(None),
            last: Cell::new(0),
            complained: Cell::new(false),
        }
    }

    /// Position of the slot of this name.
    pub(crate) fn position(&self, slot: &[u8]) -> Option<usize> {
        self.slots.iter().position(|known| known.name.as_bytes() == slot)
    }

    /// The word that decides, once the state file is mapped.
    pub(crate) fn word(&self) -> Option<&RouteWord> {
        // SAFETY: points into the mapping, which the configuration that owns this group keeps.
        self.word.get().map(|word| unsafe { word.as_ref() })
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

    /// The slot that the route gives a new request.
    ///
    /// An old worker that finishes its requests after a reload may find a slot that it does not have: it stays with the one
    /// that had the traffic before. So does any worker when the word cannot be read. Either is said once.
    #[inline]
    pub(crate) fn choose(&self, log: *mut ngx_log_t) -> Choice {
        let reading = self.reading();
        let slot = match self.position_in(reading) {
            Some(slot) => {
                self.last.set(slot);
                slot
            }
            None => self.complain(reading, log),
        };
        Choice { slot, generation: reading.generation() }
    }

    /// The slot that would take over: the one after the active slot, in the order of the configuration.
    pub(crate) fn standby(&self, log: *mut ngx_log_t) -> Choice {
        let active = self.choose(log);
        let next = active.slot + 1;
        Choice { slot: if next < self.slots.len() { next } else { 0 }, ..active }
    }

    /// This process's counters of a slot.
    #[inline]
    pub(crate) fn shard(&self, slot: usize) -> Option<&Shard> {
        let id = self.slots.get(slot)?.id.get()?;
        Some(self.counters.get()?.own_shard(id))
    }

    /// Remembers where the route leads, in case that it leads to an unknown place later.
    pub(crate) fn remember(&self) {
        self.last.set(self.position_in(self.reading()).unwrap_or(self.initial));
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
        let known = before.and_then(|id| self.slots.iter().position(|slot| slot.id.get() == Some(id)));
        known.unwrap_or(self.last.get())
    }

    #[inline]
    fn position_in(&self, reading: Reading) -> Option<usize> {
        match reading {
            Reading::Unset => Some(self.initial),
            Reading::Set(route) => self.slots.iter().position(|slot| slot.id.get() == Some(route.active)),
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
