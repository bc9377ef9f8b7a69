//! Everything at one moment, and what can happen next.

use std::array;

use super::daemon::{Asked, Daemon, Fencing, Stage, Try};
use super::edge::{By, Edge, Put, Reply, Slot, What};
use super::faults::Faults;
use super::records::{self, Job, Record, Result};
use super::work::{self, Known, Next, View};
use super::{Bug, DAEMONS, MOST_EDGES, Takeover};

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

    fn is_healthy(&self) -> bool {
        matches!(self.new, Version::Unproven | Version::Healthy)
    }

    fn view(&self, of: &Takeover) -> View {
        array::from_fn(|edge| {
            let its = &self.edges[edge];
            (edge < of.edges && !its.is_away).then(|| its.seen())
        })
    }

    /// All that can happen.
    pub(crate) fn actions(&self, of: &Takeover, actions: &mut Vec<Action>) {
        if self.broken.is_some() {
            return;
        }
        self.happenings(of, actions);
        for (at, daemon) in self.daemons.iter().enumerate() {
            if daemon.epoch == 0 && !daemon.is_paused && self.store.leads == 0 {
                actions.push(Action::Leads(at));
            }
            for edge in 0..of.edges {
                if daemon.waits_for(edge) && (self.edges[edge].is_away || self.left.lost > 0) {
                    actions.push(Action::TimesOut { daemon: at, edge });
                }
            }
            if matches!(daemon.stage, Stage::Records { is_written: false, .. })
                || self.finds_own_record(daemon)
            {
                actions.push(Action::Writes(at));
            }
            if daemon.drives() {
                self.steps(of, at, actions);
            }
        }
    }

    fn finds_own_record(&self, daemon: &Daemon) -> bool {
        daemon.drives() && matches!(daemon.stage, Stage::Records { is_written: true, .. })
    }

    /// What happens without a daemon.
    fn happenings(&self, of: &Takeover, actions: &mut Vec<Action>) {
        let mut last = None;
        for put in &self.transit {
            let edge = &self.edges[usize::from(put.edge)];
            if last == Some(put) || edge.is_away {
                continue;
            }
            last = Some(put);
            actions.push(Action::Arrives { put: *put, again: false });
            if self.left.doubled > 0 {
                actions.push(Action::Arrives { put: *put, again: true });
            }
        }
        for (at, edge) in self.edges.iter().enumerate().take(of.edges) {
            if edge.on_trial {
                actions.push(Action::LeaseEnds(at));
            }
            if edge.is_away {
                actions.push(Action::Heals(at));
            } else if self.left.cut > 0 {
                actions.push(Action::Cut(at));
            }
        }
        if self.left.sick > 0 && self.new == Version::Healthy {
            actions.push(Action::Sickens);
        }
        for (at, daemon) in self.daemons.iter().enumerate() {
            if daemon.is_paused {
                actions.push(Action::Wakes(at));
            } else if daemon.epoch > 0 {
                if self.left.crashes > 0 {
                    actions.push(Action::Crashes(at));
                }
                if self.left.pauses > 0 {
                    actions.push(Action::Pauses(at));
                }
            }
        }
        let leads = self.store.leads;
        if leads > 0 {
            let renews = self.daemons.iter().any(|daemon| daemon.epoch == leads && !daemon.is_paused);
            if !renews || self.left.lapses > 0 {
                actions.push(Action::KeyEnds);
            }
        }
        for (at, (epoch, _)) in self.store.late.iter().enumerate() {
            if *epoch == self.store.leads || of.bug == Some(Bug::NoEpoch) {
                actions.push(Action::WritesLate(at));
            }
        }
    }

    /// What a daemon that leads can do.
    fn steps(&self, of: &Takeover, at: usize, actions: &mut Vec<Action>) {
        let daemon = &self.daemons[at];
        match &daemon.stage {
            Stage::TakesOver(_) => actions.push(Action::Looks(at, 0)),
            Stage::Begins { .. } => {
                let ways = self.next(of, at).len();
                actions.extend((0..ways).map(|way| Action::Looks(at, way as u8)));
            }
            Stage::Stops(_) => actions.push(Action::Stops(at)),
            _ => {}
        }
        if daemon.may_conclude() {
            let ways = self.conclusions(of, at).len();
            actions.extend((0..ways).map(|way| Action::Concludes(at, way as u8)));
        }
        for edge in 0..of.edges {
            if daemon.reads(edge) {
                actions.push(Action::Reads(at, edge));
            }
            if self.repair(of, at, edge).is_some() {
                actions.push(Action::Repairs(at, edge));
            }
        }
    }

    /// What follows from a look of a driver.
    fn next(&self, of: &Takeover, at: usize) -> Vec<Next> {
        let said = records::said(self.daemons[at].record);
        let view = self.view(of);
        self.known(of, &said, &view).next()
    }

    fn known<'a>(&self, of: &Takeover, said: &'a records::Said, view: &'a View) -> Known<'a> {
        Known {
            edges: of.edges,
            said,
            view,
            is_healthy: self.is_healthy(),
            renews: self.left.renewals > 0,
            bug: of.bug,
        }
    }

    /// The change that repairs an edge, if it needs one: `Control::repair`.
    fn repair(&self, of: &Takeover, at: usize, edge: usize) -> Option<Put> {
        let view = self.view(of);
        let seen = view[edge]?;
        if of.edges == 1 {
            return None;
        }
        let slot = records::said(self.store.record).desired?;
        let is_there = view.iter().flatten().any(|seen| seen.is_all_on(slot));
        let runs = match slot {
            Slot::Old => !self.old_is_stopped,
            Slot::New => self.new == Version::Healthy,
        };
        let epoch = self.daemons[at].epoch;
        let what = What::Repair(slot);
        let put = Put { edge: edge as u8, what, expects: seen.generation, epoch, waits: None };
        (is_there && runs && !seen.is_all_on(slot) && !self.transit.contains(&put)).then_some(put)
    }

    /// What follows once a driver has heard from all edges.
    fn conclusions(&self, of: &Takeover, at: usize) -> Vec<Stage> {
        let daemon = &self.daemons[at];
        let said = records::said(daemon.record);
        let records = |result| Self::records(daemon.record, result);
        match &daemon.stage {
            Stage::Switches(tries) => {
                let view = [None; MOST_EDGES];
                vec![records(self.known(of, &said, &view).together(tries))]
            }
            Stage::Fences { asked, so_far } => {
                let mut so_far = *so_far;
                for (edge, asked) in asked.iter().enumerate() {
                    if let Asked::Done(seen) = asked {
                        so_far.left[edge] = false;
                        so_far.fenced[edge] = seen.generation;
                        so_far.arrived[edge] = seen.on == Slot::New;
                    }
                }
                Self::after_fences(of, daemon.record, so_far)
            }
            Stage::Confirms { asked, confirmed, round } => {
                let mut confirmed = *confirmed;
                for (edge, asked) in asked.iter().enumerate() {
                    let is_ours = |seen: &super::edge::Seen| seen.generation == said.switched[edge];
                    confirmed[edge] |= matches!(asked, Asked::Done(seen) if is_ours(seen));
                }
                let count = confirmed.iter().filter(|is| **is).count();
                if count == of.edges {
                    return vec![records(Result::Confirmed)];
                }
                // The patience may be over, or not.
                let over = if count > 0 { Result::Confirmed } else { Result::StepFailed };
                let mut ways = vec![records(over)];
                if of.edges > 1 && *round == 0 {
                    ways.push(Stage::Begins { confirmed, round: 1 });
                }
                ways
            }
            Stage::Closes(asked) => match asked.contains(&Asked::Failed) {
                true => vec![records(Result::StepFailed)],
                false => vec![Stage::Begins { confirmed: [false; MOST_EDGES], round: 0 }],
            },
            Stage::GoesBack(asked) => {
                let is_not_back = asked
                    .iter()
                    .enumerate()
                    .any(|(edge, asked)| work::is_not_back(asked, self.lease_is_over(of, edge)));
                let result = if is_not_back { Result::StepFailed } else { Result::SwitchedBack };
                let mut ways = vec![records(result)];
                if !is_not_back && asked.contains(&Asked::Away) {
                    ways.push(records(Result::StepFailed));
                }
                ways
            }
            _ => Vec::new(),
        }
    }

    /// Whether a driver may find that the lease of an edge, which is away, has run out since: `Work::lease_is_over`. The trial that
    /// it knows of has ended then. One that was armed meanwhile may run.
    fn lease_is_over(&self, of: &Takeover, edge: usize) -> bool {
        let edge = &self.edges[edge];
        of.edges > 1 && of.bug != Some(Bug::NoLease) && (!edge.on_trial || edge.armed_since)
    }

    /// What follows from a round of fences: `Driven::take_over`.
    fn after_fences(of: &Takeover, record: Record, so_far: Fencing) -> Vec<Stage> {
        let Fencing { left, fenced, arrived, round } = so_far;
        let mut next = records::fenced(record, fenced);
        // The switch has taken effect on all edges, and nobody has heard of it.
        if records::said(record).job == Job::Switch && arrived.iter().filter(|has| **has).count() == of.edges
        {
            next = records::after(next, Result::Switched(fenced));
        }
        let done = match next == record {
            true => Stage::Begins { confirmed: [false; MOST_EDGES], round: 0 },
            false => Stage::Records { next, is_written: false },
        };
        match left.contains(&true) && round == 0 {
            true => vec![done, Stage::TakesOver(Fencing { round: 1, ..so_far })],
            false => vec![done],
        }
    }

    fn records(record: Record, result: Result) -> Stage {
        Stage::Records { next: records::after(record, result), is_written: false }
    }

    /// What an action makes of this situation.
    pub(crate) fn after(&self, of: &Takeover, action: Action) -> Self {
        let mut next = self.clone();
        match action {
            Action::Arrives { put, again } => next.arrives(of, put, again),
            Action::TimesOut { daemon, edge } => {
                if !next.edges[edge].is_away {
                    next.left.lost -= 1;
                }
                next.forgets(daemon, Some(edge));
                next.daemons[daemon].hears(edge, None);
            }
            Action::LeaseEnds(edge) => {
                let before = next.edges[edge].on;
                next.edges[edge].lease_ends();
                next.has_moved(edge, before);
            }
            Action::Cut(edge) => {
                next.left.cut -= 1;
                next.edges[edge].is_away = true;
            }
            Action::Heals(edge) => next.edges[edge].is_away = false,
            Action::Sickens => {
                next.left.sick -= 1;
                next.new = Version::Sick;
            }
            Action::Crashes(at) => {
                next.left.crashes -= 1;
                next.steps_down(at);
            }
            Action::Pauses(at) => {
                next.left.pauses -= 1;
                next.daemons[at].is_paused = true;
            }
            Action::Wakes(at) => {
                next.daemons[at].is_paused = false;
                if next.daemons[at].is_over && of.bug != Some(Bug::NoLeaseCheck) {
                    next.steps_down(at);
                }
            }
            Action::KeyEnds => next.key_ends(),
            Action::Leads(at) => next.leads(of, at),
            Action::Looks(at, way) => next.looks(of, at, way),
            Action::Reads(at, edge) => next.reads(at, edge),
            Action::Concludes(at, way) => {
                next.daemons[at].stage = self.conclusions(of, at).swap_remove(usize::from(way));
            }
            Action::Stops(at) => next.stops(of, at),
            Action::Writes(at) => next.writes(of, at),
            Action::WritesLate(late) => {
                let (epoch, record) = next.store.late.remove(late);
                next.takes_record(of, epoch, record);
            }
            Action::Repairs(at, edge) => {
                if let Some(put) = self.repair(of, at, edge) {
                    next.send(put);
                }
            }
        }
        next.transit.sort_unstable();
        next
    }

    fn send(&mut self, put: Put) {
        self.transit.push(put);
    }

    fn asks(&mut self, at: usize, edge: usize, what: What, expects: u8) {
        let waits = (what != What::Renew).then_some(at as u8);
        self.send(Put { edge: edge as u8, what, expects, epoch: self.daemons[at].epoch, waits });
    }

    /// A change arrives at its edge.
    fn arrives(&mut self, of: &Takeover, put: Put, again: bool) {
        if let Some(at) = self.transit.iter().position(|known| *known == put) {
            self.transit.remove(at);
        }
        if again {
            self.left.doubled -= 1;
            self.send(Put { waits: None, ..put });
        }
        let at = usize::from(put.edge);
        let (before, epoch) = (self.edges[at].on, self.edges[at].epoch);
        let reply = self.edges[at].take(&put, of.bug);
        if matches!(reply, Reply::Done(_)) {
            if put.epoch < epoch {
                self.broken = Some(Broken::OldChange);
            }
            // A renewal and a confirmation close nothing to those before them.
            if !matches!(put.what, What::Renew | What::Confirm) {
                self.edges[at].epoch = epoch.max(put.epoch);
            }
            self.has_moved(at, before);
        }
        if let Some(daemon) = put.waits {
            self.daemons[usize::from(daemon)].hears(at, Some(reply));
        }
    }

    fn has_moved(&mut self, edge: usize, before: Slot) {
        let now = self.edges[edge].on;
        let is_proven = match now {
            Slot::Old => !self.old_is_stopped,
            Slot::New => matches!(self.new, Version::Healthy | Version::Sick),
        };
        if now != before && !is_proven {
            self.broken = Some(Broken::Unproven);
        }
    }

    /// Nobody waits for the replies to this daemon any more.
    fn forgets(&mut self, daemon: usize, of: Option<usize>) {
        for put in &mut self.transit {
            if put.waits == Some(daemon as u8) && of.is_none_or(|edge| usize::from(put.edge) == edge) {
                put.waits = None;
            }
        }
    }

    /// A driver is gone. What it has sent stays in transit.
    fn steps_down(&mut self, at: usize) {
        self.forgets(at, None);
        let epoch = self.daemons[at].epoch;
        if let Stage::Records { next, is_written: false } = self.daemons[at].stage {
            self.store.late.push((epoch, next));
        }
        let is_paused = self.daemons[at].is_paused;
        self.daemons[at] = Daemon { is_paused, ..Daemon::new(self.store.record) };
    }

    fn key_ends(&mut self) {
        let epoch = std::mem::take(&mut self.store.leads);
        let Some(at) = self.daemons.iter().position(|daemon| daemon.epoch == epoch) else { return };
        if self.daemons[at].is_paused {
            self.daemons[at].is_over = true;
        } else {
            self.left.lapses -= 1;
            self.steps_down(at);
        }
    }

    fn leads(&mut self, of: &Takeover, at: usize) {
        self.store.newest += 1;
        self.store.leads = self.store.newest;
        let said = records::said(self.store.record);
        let left = array::from_fn(|edge| edge < of.edges && said.fences_at[edge] > 0);
        let daemon = &mut self.daemons[at];
        daemon.epoch = self.store.newest;
        daemon.record = self.store.record;
        daemon.begin(said.ended.is_some());
        if left.contains(&true) && said.ended.is_none() && of.bug != Some(Bug::NoTakeoverFence) {
            let (fenced, arrived) = ([0; MOST_EDGES], [false; MOST_EDGES]);
            daemon.stage = Stage::TakesOver(Fencing { left, fenced, arrived, round: 0 });
        }
    }

    /// A driver reads all routes and goes on.
    fn looks(&mut self, of: &Takeover, at: usize, way: u8) {
        let view = self.view(of);
        for edge in 0..of.edges {
            self.looked(at, edge);
        }
        let said = records::said(self.daemons[at].record);
        if let Stage::TakesOver(so_far) = self.daemons[at].stage {
            return self.sends_fences(of, at, so_far);
        }
        let known = self.known(of, &said, &view);
        let next = known.next().swap_remove(usize::from(way));
        let strays = known.strays();
        match next {
            Next::Result(result) => {
                if result == Result::SmokePassed {
                    self.new = Version::Healthy;
                }
                if result == Result::SoakPassed && of.bug == Some(Bug::ConfirmsBeforeRecord) {
                    for edge in 0..of.edges {
                        let put = Put {
                            edge: edge as u8,
                            what: What::Confirm,
                            expects: said.switched[edge],
                            epoch: self.daemons[at].epoch,
                            waits: None,
                        };
                        self.send(put);
                    }
                }
                self.daemons[at].stage = Self::records(self.daemons[at].record, result);
            }
            Next::Forward => {
                let first = Try::Reads { failed: 0, is_sent: false };
                self.daemons[at].stage =
                    Stage::Switches(array::from_fn(|edge| if edge < of.edges { first } else { Try::None }));
                for edge in 0..of.edges {
                    self.reads(at, edge);
                }
            }
            Next::Renew => {
                self.left.renewals -= 1;
                for (edge, seen) in view.iter().enumerate() {
                    if let Some(seen) = seen.filter(|seen| seen.on_trial) {
                        self.asks(at, edge, What::Renew, seen.generation);
                    }
                }
            }
            Next::Confirm => {
                let Stage::Begins { confirmed, round } = self.daemons[at].stage else { return };
                let mut asked = [Asked::Not; MOST_EDGES];
                for (edge, seen) in view.iter().enumerate() {
                    if let Some(seen) = seen.filter(|_| strays[edge].is_none()) {
                        asked[edge] = Asked::Waits;
                        self.asks(at, edge, What::Confirm, seen.generation);
                    }
                }
                self.daemons[at].stage = Stage::Confirms { asked, confirmed, round };
            }
            Next::Back => {
                let mut asked = [Asked::Not; MOST_EDGES];
                for edge in 0..of.edges {
                    asked[edge] = match view[edge] {
                        Some(seen) => {
                            self.asks(at, edge, What::Back, seen.generation);
                            Asked::Waits
                        }
                        None => Asked::Reads,
                    };
                }
                self.daemons[at].stage = Stage::GoesBack(asked);
            }
            Next::Close => {
                let mut asked = [Asked::Not; MOST_EDGES];
                for (edge, seen) in view.iter().enumerate() {
                    if let Some(seen) = seen.filter(|seen| seen.by != By::Back) {
                        asked[edge] = Asked::Waits;
                        self.asks(at, edge, What::Back, seen.generation);
                    }
                }
                self.daemons[at].stage = Stage::Closes(asked);
            }
            Next::Stop(slot) => self.daemons[at].stage = Stage::Stops(slot),
        }
    }

    /// Keeps whether an edge has answered.
    fn looked(&mut self, at: usize, edge: usize) {
        let is_away = self.edges[edge].is_away;
        if is_away && !self.daemons[at].away[edge] {
            self.edges[edge].armed_since = false;
        }
        self.daemons[at].away[edge] = is_away;
    }

    fn sends_fences(&mut self, of: &Takeover, at: usize, mut so_far: Fencing) {
        let record = self.daemons[at].record;
        // A round after the first one knows what the rounds before it have fenced.
        let said = records::said(records::fenced(record, so_far.fenced));
        let view = self.view(of);
        let mut asked = [Asked::Not; MOST_EDGES];
        for (edge, seen) in view.iter().enumerate() {
            let Some(seen) = seen.filter(|_| so_far.left[edge]) else { continue };
            if self.known(of, &said, &view).is_expected(edge, seen) {
                asked[edge] = Asked::Waits;
                self.asks(at, edge, What::Fence, seen.generation);
            } else {
                so_far.left[edge] = false;
            }
        }
        self.daemons[at].stage = match asked.contains(&Asked::Waits) {
            true => Stage::Fences { asked, so_far },
            false => Self::after_fences(of, record, Fencing { round: 1, ..so_far }).swap_remove(0),
        };
    }

    /// A driver reads one edge and sends what follows.
    fn reads(&mut self, at: usize, edge: usize) {
        self.looked(at, edge);
        let said = records::said(self.daemons[at].record);
        let its = self.edges[edge];
        match self.daemons[at].stage.clone() {
            Stage::GoesBack(mut asked) => {
                asked[edge] = if its.is_away { Asked::Away } else { Asked::Waits };
                self.daemons[at].stage = Stage::GoesBack(asked);
                if !its.is_away {
                    self.asks(at, edge, What::Back, its.generation);
                }
            }
            Stage::Switches(mut tries) => {
                let Try::Reads { failed, is_sent } = tries[edge] else { return };
                let expected = said.expected[edge];
                tries[edge] = match work::attempt(&its, expected, self.is_healthy(), is_sent) {
                    Ok(is_there) => {
                        let what = if is_there { What::Renew } else { What::Forward };
                        let put = Put {
                            edge: edge as u8,
                            what,
                            expects: its.generation,
                            epoch: self.daemons[at].epoch,
                            waits: Some(at as u8),
                        };
                        self.send(put);
                        Try::Waits { failed, is_sent, is_there }
                    }
                    Err(outcome) => Try::Ends(outcome),
                };
                self.daemons[at].stage = Stage::Switches(tries);
            }
            _ => {}
        }
    }

    fn stops(&mut self, of: &Takeover, at: usize) {
        let Stage::Stops(slot) = self.daemons[at].stage else { return };
        if self.edges.iter().take(of.edges).any(|edge| edge.on == slot) {
            self.broken = Some(Broken::StoppedInUse);
        }
        match slot {
            Slot::Old => self.old_is_stopped = true,
            Slot::New => self.new = Version::Stopped,
        }
        let next = records::after(self.daemons[at].record, Result::Stopped);
        self.daemons[at].stage = Stage::Records { next, is_written: false };
    }

    /// The record of a driver arrives at the store, or its reply is read once it goes on.
    fn writes(&mut self, of: &Takeover, at: usize) {
        let Stage::Records { next, is_written } = self.daemons[at].stage else { return };
        let epoch = self.daemons[at].epoch;
        if !is_written && !self.takes_record(of, epoch, next) {
            // Another daemon leads, or may.
            self.daemons[at].stage = Stage::Idle;
            if !self.daemons[at].is_paused {
                self.steps_down(at);
            }
            return;
        }
        if self.daemons[at].is_paused {
            self.daemons[at].stage = Stage::Records { next, is_written: true };
            return;
        }
        let said = records::said(next);
        self.daemons[at].record = next;
        self.daemons[at].begin(said.ended.is_some());
    }

    /// Whether the store takes a record: the leader's key has to be of this epoch.
    fn takes_record(&mut self, of: &Takeover, epoch: u8, record: Record) -> bool {
        if epoch != self.store.leads && of.bug != Some(Bug::NoEpoch) {
            return false;
        }
        if epoch < self.store.newest {
            self.broken = Some(Broken::OldRecord);
        }
        self.store.record = record;
        self.store.is_committed |= records::said(record).is_committed;
        true
    }

    /// Whether nothing more happens until somebody asks for it, except faults, and changes that arrive too late. The driver waits
    /// for a repair, so that is none of them.
    pub(crate) fn is_quiet(&self, of: &Takeover) -> bool {
        let mut actions = Vec::new();
        self.actions(of, &mut actions);
        actions.iter().all(|action| match action {
            Action::Arrives { again: true, .. }
            | Action::Cut(_)
            | Action::Sickens
            | Action::Crashes(_)
            | Action::Pauses(_) => true,
            Action::KeyEnds => {
                self.daemons.iter().any(|daemon| daemon.epoch == self.store.leads && !daemon.is_paused)
            }
            Action::Arrives { put, again: false } => {
                let is_repair = matches!(put.what, What::Repair(_));
                put.waits.is_none()
                    && !(is_repair && put.expects == self.edges[usize::from(put.edge)].generation)
            }
            _ => false,
        })
    }
}
