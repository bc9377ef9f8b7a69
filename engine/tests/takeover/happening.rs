//! What an action makes of a situation.

use std::array;

use super::daemon::{Asked, Daemon, Fencing, Stage, Try};
use super::edge::{By, Put, Reply, Slot, What};
use super::records::{self, Record, Result};
use super::situation::{Action, Broken, Situation, Version};
use super::work::{self, Next};
use super::{Bug, MOST_EDGES, Takeover};

impl Situation {
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
}
