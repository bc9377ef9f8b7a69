//! Everything at one moment.

use std::array;

use super::daemon::Daemon;
use super::edge::{Edge, Put};
use super::faults::Faults;
use super::records::{self, Record};
use super::work::{Known, View};
use super::{DAEMONS, MOST_EDGES, Takeover};

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Situation {
    pub(crate) edges: [Edge; MOST_EDGES],
    pub(crate) daemons: [Daemon; DAEMONS],
    /// Changes in transit, sorted.
    pub(crate) transit: Vec<Put>,
    pub(crate) store: Store,
    /// The new slot.
    pub(crate) new: Version,
    /// Whether the old slot is stopped.
    pub(crate) old_is_stopped: bool,
    /// The faults that may still happen.
    pub(crate) left: Faults,
    /// What must not happen and has.
    pub(crate) broken: Option<Broken>,
}

/// The store: the last record, and the key of the leader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Store {
    pub(crate) record: Record,
    /// The epoch of the leader's key; 0 while there is none.
    pub(crate) leads: u8,
    /// The newest epoch.
    pub(crate) newest: u8,
    /// Whether a record of the commit has been written.
    pub(crate) is_committed: bool,
    /// Records of drivers that are gone, in transit, with their epochs.
    pub(crate) late: Vec<(u8, Record)>,
}

/// The new version, as its probes see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Version {
    /// Nobody has probed it since its start.
    Unproven,
    Healthy,
    Sick,
    Stopped,
}

/// What must not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Broken {
    /// Traffic has moved to a slot that no probe has found healthy since its start, or that is stopped.
    Unproven,
    /// A slot was stopped that had traffic.
    StoppedInUse,
    /// An edge has made a change of an epoch after one of a newer epoch.
    OldChange,
    /// The store has taken a record of an epoch that was not the newest.
    OldRecord,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A change arrives, and so does its reply. `again`: it arrives once more later.
    Arrives { put: Put, again: bool },
    /// A daemon gives up to wait for a reply. The change may still arrive.
    TimesOut { daemon: usize, edge: usize },
    /// The lease of a trial runs out.
    LeaseEnds(usize),
    /// An edge is cut off.
    Cut(usize),
    /// It is reached again.
    Heals(usize),
    /// The new version turns bad.
    Sickens,
    /// A process ends, and starts again.
    Crashes(usize),
    /// A process stops.
    Pauses(usize),
    /// It goes on.
    Wakes(usize),
    /// The leader's key runs out.
    KeyEnds,
    /// A daemon makes itself the leader.
    Leads(usize),
    /// A driver reads the routes and begins its work; one of the ways to go on.
    Looks(usize, u8),
    /// A driver reads one edge again.
    Reads(usize, usize),
    /// A driver has heard from all edges; one of the ways to go on.
    Concludes(usize, u8),
    /// A command stops a slot.
    Stops(usize),
    /// The record of a driver arrives at the store.
    Writes(usize),
    /// The record of a driver that is gone arrives at the store.
    WritesLate(usize),
    /// A daemon repairs an edge.
    Repairs(usize, usize),
}

impl Situation {
    pub(crate) fn new(of: &Takeover) -> Self {
        let record = records::first();
        let mut daemons = array::from_fn(|_| Daemon::new(record));
        daemons[0].epoch = 1;
        daemons[0].begin(false);
        Self {
            edges: [Edge::new(); MOST_EDGES],
            daemons,
            transit: Vec::new(),
            store: Store { record, leads: 1, newest: 1, is_committed: false, late: Vec::new() },
            new: Version::Unproven,
            old_is_stopped: false,
            left: of.faults,
            broken: None,
        }
    }

    pub(crate) fn is_healthy(&self) -> bool {
        matches!(self.new, Version::Unproven | Version::Healthy)
    }

    pub(crate) fn view(&self, of: &Takeover) -> View {
        array::from_fn(|edge| {
            let its = &self.edges[edge];
            (edge < of.edges && !its.is_away).then(|| its.seen())
        })
    }

    pub(crate) fn known<'a>(&self, of: &Takeover, said: &'a records::Said, view: &'a View) -> Known<'a> {
        Known {
            edges: of.edges,
            said,
            view,
            is_healthy: self.is_healthy(),
            renews: self.left.renewals > 0,
            bug: of.bug,
        }
    }
}
