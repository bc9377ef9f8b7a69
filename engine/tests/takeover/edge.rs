//! An edge as the module of nginx behaves: it compares the generation, keeps a trial, and goes back when the lease runs out.

use cutover_core::deployment::TakenBackBy;

use super::Bug;

/// A slot of the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Slot {
    Old,
    New,
}

/// Who has made the last change of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum By {
    Start,
    Forward,
    Back,
    Fence,
    Repair,
    Lease,
}

/// The route of one edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Edge {
    pub(crate) generation: u8,
    pub(crate) on: Slot,
    /// Whether a trial runs. It has a lease, and its way back is the old slot.
    pub(crate) on_trial: bool,
    pub(crate) by: By,
    /// Whether daemons cannot reach it. It serves users all the same.
    pub(crate) is_away: bool,
    /// Whether the trial was armed since a driver has found the edge away. A driver that counts the lease from there is wrong then.
    pub(crate) armed_since: bool,
    /// Whether it has ever made the change forward. Only the properties look at it.
    pub(crate) has_switched: bool,
    /// The newest epoch whose change it has made. Only the properties look at it.
    pub(crate) epoch: u8,
}

/// A change of a route that is in transit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Put {
    pub(crate) edge: u8,
    pub(crate) what: What,
    pub(crate) expects: u8,
    pub(crate) epoch: u8,
    /// The daemon that waits for the reply.
    pub(crate) waits: Option<u8>,
}

/// A change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum What {
    /// The new slot gets all traffic, on trial.
    Forward,
    /// The lease begins anew.
    Renew,
    /// The trial ends, and the traffic stays.
    Confirm,
    /// The old slot gets all traffic, as a fence.
    Back,
    /// The generation changes and nothing else.
    Fence,
    /// The slot gets all traffic, as a fence.
    Repair(Slot),
}

/// The reply to a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Reply {
    /// It is made. Holds the route.
    Done(Seen),
    /// The generation is another one.
    Moved,
    /// It is no change that can be made.
    Refused,
}

/// A route as a daemon has read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Seen {
    pub(crate) generation: u8,
    pub(crate) on: Slot,
    pub(crate) on_trial: bool,
    pub(crate) by: By,
}

impl Seen {
    /// As `RouteState::routes_to`: new requests go to the slot, or may at any moment.
    pub(crate) fn routes_to(self, slot: Slot) -> bool {
        self.on == slot || (slot == Slot::Old && self.on_trial)
    }

    /// As `RouteState::is_all_on`.
    pub(crate) fn is_all_on(self, slot: Slot) -> bool {
        self.on == slot && !self.on_trial
    }

    /// What has taken the traffic back, as `taken_back_by` of the driver finds out.
    pub(crate) fn taken_back_by(self) -> Option<TakenBackBy> {
        match self.by {
            _ if !self.is_all_on(Slot::Old) => None,
            By::Lease => Some(TakenBackBy::Lease),
            By::Back => Some(TakenBackBy::Rollback),
            _ => None,
        }
    }
}

impl Edge {
    pub(crate) fn new() -> Self {
        Self {
            generation: 1,
            on: Slot::Old,
            on_trial: false,
            by: By::Start,
            is_away: false,
            armed_since: false,
            has_switched: false,
            epoch: 0,
        }
    }

    pub(crate) fn seen(&self) -> Seen {
        let Self { generation, on, on_trial, by, .. } = *self;
        Seen { generation, on, on_trial, by }
    }

    /// A change arrives.
    pub(crate) fn take(&mut self, put: &Put, bug: Option<Bug>) -> Reply {
        if put.expects != self.generation && bug != Some(Bug::NoExpectedGeneration) {
            return Reply::Moved;
        }
        match put.what {
            // The module refuses a trial of a slot that has the traffic already.
            What::Forward if self.on == Slot::New => return Reply::Refused,
            What::Forward => self.moves(Slot::New, bug != Some(Bug::NoLease), By::Forward),
            What::Renew if !self.on_trial => return Reply::Refused,
            What::Renew => self.armed_since = true,
            What::Confirm => self.on_trial = false,
            What::Back if self.on == Slot::Old && bug == Some(Bug::NoFence) => self.by = By::Back,
            What::Back => self.moves(Slot::Old, false, By::Back),
            What::Fence => self.moves(self.on, self.on_trial, By::Fence),
            What::Repair(slot) => self.moves(slot, false, By::Repair),
        }
        Reply::Done(self.seen())
    }

    /// The lease of the trial runs out.
    pub(crate) fn lease_ends(&mut self) {
        self.moves(Slot::Old, false, By::Lease);
    }

    fn moves(&mut self, on: Slot, on_trial: bool, by: By) {
        self.generation += 1;
        self.on = on;
        self.on_trial = on_trial;
        self.has_switched |= by == By::Forward;
        self.armed_since |= on_trial;
        self.by = by;
    }
}
