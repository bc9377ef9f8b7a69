//! One group at run time: its slots, and which of them takes a new request.

use std::cell::{Cell, OnceCell};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};

use cutover_core::counters::Shard;
use cutover_core::route::{Reading, RouteWord, SlotId};
use ngx::ffi::{NGX_LOG_ALERT, ngx_http_upstream_srv_conf_t, ngx_log_t};

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
    complained: AtomicBool,
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
            complained: AtomicBool::new(false),
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

    /// The name of the slot that the route means.
    pub(crate) fn active_name(&self) -> &str {
        self.name_in(self.reading())
    }

    /// The name of the slot that a reading of the route means.
    pub(crate) fn name_in(&self, reading: Reading) -> &str {
        let slot = match reading {
            Reading::Set(route) => self.slots.iter().find(|slot| slot.id.get() == Some(route.active)),
            Reading::Unset | Reading::Damaged => None,
        };
        slot.or_else(|| self.slots.get(self.initial)).map_or("", |slot| slot.name.as_str())
    }

    /// The slot that the route gives a new request.
    ///
    /// A route that names a slot this configuration does not have (an old worker that finishes its requests after a reload
    /// which added the slot) or that cannot be read leaves the choice to `active`, and is said once.
    #[inline]
    pub(crate) fn choose(&self, log: *mut ngx_log_t) -> Choice {
        let reading = self.reading();
        let slot = match reading {
            Reading::Unset => Some(self.initial),
            Reading::Set(route) => self.slots.iter().position(|slot| slot.id.get() == Some(route.active)),
            Reading::Damaged => None,
        };
        let slot = slot.unwrap_or_else(|| self.complain(log));
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

    #[cold]
    fn complain(&self, log: *mut ngx_log_t) -> usize {
        if !self.complained.swap(true, Ordering::Relaxed) {
            let active = self.slots.get(self.initial).map_or("", |slot| slot.name.as_str());
            ext::log(
                NGX_LOG_ALERT,
                log,
                format_args!(
                    "cutover: the route of group \"{}\" names no slot of this configuration; using \"{active}\"",
                    self.name
                ),
            );
        }
        self.initial
    }
}
