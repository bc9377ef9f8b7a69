//! What a driver does after it has read the routes: one function for each work of the driver.

use cutover_core::deployment::TakenBackBy;

use super::daemon::{Asked, Shifted, Try};
use super::edge::{By, Edge, Seen, Slot};
use super::records::{Generations, Job, Result, Said};
use super::{Bug, MOST_EDGES};

/// A view: the edges that have answered.
pub(crate) type View = [Option<Seen>; MOST_EDGES];

/// What follows from a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The work has a result.
    Result(Result),
    /// The change forward is sent.
    Forward,
    /// The leases are renewed, and the work goes on.
    Renew,
    /// The trials of the edges that are no strays are ended.
    Confirm,
    /// The routes go back.
    Back,
    /// The edges that this rollback has not moved itself are fenced.
    Close,
    /// A slot is stopped.
    Stop(Slot),
}

/// What a driver knows.
pub(crate) struct Known<'a> {
    /// Number of edges.
    pub(crate) edges: usize,
    /// What its record says.
    pub(crate) said: &'a Said,
    /// The routes.
    pub(crate) view: &'a View,
    /// Whether the new slot passes its probes.
    pub(crate) is_healthy: bool,
    /// Whether leases are renewed.
    pub(crate) renews: bool,
    /// What is left out of the protocol.
    pub(crate) bug: Option<Bug>,
}

impl Known<'_> {
    fn seen(&self) -> impl Iterator<Item = (usize, Seen)> + '_ {
        self.view.iter().enumerate().filter_map(|(edge, seen)| Some((edge, (*seen)?)))
    }

    fn is_whole(&self) -> bool {
        self.seen().count() == self.edges
    }

    /// Whether any edge that answers sends requests to the slot, or may.
    fn routes_to(&self, slot: Slot) -> bool {
        self.seen().any(|(_, seen)| seen.routes_to(slot))
    }

    /// `Work::strays`.
    pub(crate) fn strays(&self) -> View {
        let mut strays = [None; MOST_EDGES];
        for (edge, seen) in self.seen() {
            if seen.on != Slot::New || seen.generation != self.said.switched[edge] {
                strays[edge] = Some(seen);
            }
        }
        strays
    }

    /// `Work::moved`.
    fn moved(&self, edges: &View) -> Result {
        let looks: Vec<Seen> = edges.iter().filter_map(|seen| *seen).collect();
        let is_alone = self.edges > 1 && looks.len() < self.edges;
        let mut taken_back = None;
        for look in looks {
            match look.taken_back_by() {
                None if is_alone => taken_back = taken_back.max(Some(TakenBackBy::Hand)),
                None => return Result::RouteMoved,
                by => taken_back = taken_back.max(by),
            }
        }
        taken_back.map_or(Result::StepFailed, Result::TakenBack)
    }

    /// What may follow in the phase.
    pub(crate) fn next(&self) -> Vec<Next> {
        match self.said.job {
            Job::Smoke if self.is_healthy => vec![Next::Result(Result::SmokePassed)],
            Job::Smoke => vec![Next::Result(Result::SmokeFailed)],
            Job::Read => vec![Next::Result(self.read())],
            Job::Switch => vec![Next::Forward],
            Job::Soak => self.soak(),
            Job::Confirm => vec![self.confirm()],
            Job::DrainOld => self.drain_old(),
            Job::StopOld => vec![self.stop(Slot::Old)],
            Job::StopNew => vec![self.stop(Slot::New)],
            Job::GoBack => vec![self.go_back()],
            Job::DrainNew => vec![Next::Result(match self.is_whole() && !self.routes_to(Slot::New) {
                true => Result::Drained,
                false => Result::DrainTimedOut,
            })],
            Job::Nothing => Vec::new(),
        }
    }

    /// `Work::read_route`.
    fn read(&self) -> Result {
        if !self.is_whole() {
            return Result::NotSwitched;
        }
        if self.routes_to(Slot::New) {
            return Result::RouteMoved;
        }
        let mut generations: Generations = [0; MOST_EDGES];
        for (edge, seen) in self.seen() {
            generations[edge] = seen.generation;
        }
        Result::RouteRead(generations)
    }

    /// `Work::watch_counters`. The time of the soak may be over at any moment.
    fn soak(&self) -> Vec<Next> {
        if self.seen().next().is_none() {
            return vec![Next::Result(Result::SoakBlind)];
        }
        let strays = self.strays();
        if strays.iter().any(Option::is_some) {
            return vec![Next::Result(self.moved(&strays))];
        }
        // Nothing is committed while an edge is away.
        let mut next = match (self.is_healthy, self.is_whole()) {
            (false, _) => vec![Next::Result(Result::SoakBad)],
            (true, true) => vec![Next::Result(Result::SoakPassed)],
            (true, false) => Vec::new(),
        };
        if self.renews && self.seen().any(|(_, seen)| seen.on_trial) {
            next.push(Next::Renew);
        }
        if !self.is_whole() {
            next.push(Next::Result(Result::SoakBlind));
        }
        next
    }

    /// The first half of `Work::confirm_once`.
    fn confirm(&self) -> Next {
        let strays = self.strays();
        let answered = self.seen().count();
        match strays.iter().flatten().count() {
            _ if answered == 0 => Next::Result(Result::StepFailed),
            count if count == answered || (count > 0 && self.edges == 1) => Next::Result(self.moved(&strays)),
            _ => Next::Confirm,
        }
    }

    /// `Work::drain_old`.
    fn drain_old(&self) -> Vec<Next> {
        let strays = self.strays();
        let result = match self.is_whole() {
            false => Result::DrainTimedOut,
            true if strays.iter().flatten().count() == self.edges => self.moved(&strays),
            true if !self.routes_to(Slot::Old) => Result::Drained,
            true if self.edges == 1 => Result::RouteMoved,
            true => Result::DrainTimedOut,
        };
        let mut next = vec![Next::Result(result)];
        if !self.is_healthy {
            next.push(Next::Result(Result::SoakBad));
        }
        next
    }

    /// `Work::before_stopping`, and `Work::close` before it.
    fn stop(&self, slot: Slot) -> Next {
        if self.bug == Some(Bug::StopsUnseen) {
            return Next::Stop(slot);
        }
        if !self.is_whole() {
            return Next::Result(Result::StepFailed);
        }
        if self.routes_to(slot) {
            return Next::Result(Result::RouteMoved);
        }
        let closes = slot == Slot::New && self.said.closes && self.bug != Some(Bug::NoClosing);
        match closes && self.seen().any(|(_, seen)| seen.by != By::Back) {
            true => Next::Close,
            false => Next::Stop(slot),
        }
    }

    /// `Work::way_back`. The old slot is healthy for as long as it is not stopped.
    fn go_back(&self) -> Next {
        if self.seen().next().is_none() {
            return Next::Result(Result::StepFailed);
        }
        let is_back = self.seen().all(|(_, seen)| seen.is_all_on(Slot::Old));
        let by_lease = self.seen().any(|(_, seen)| seen.by == By::Lease);
        match is_back && by_lease && !self.said.is_taken_back {
            true => Next::Result(Result::TakenBack(TakenBackBy::Lease)),
            false => Next::Back,
        }
    }

    /// The edges whose routes are still as earlier drivers of this deployment may have left them: `Driven::is_expected`.
    pub(crate) fn is_expected(&self, edge: usize, seen: Seen) -> bool {
        let expected = self.said.fences_at[edge];
        let was_switched = seen.generation == expected + 1 && seen.by == By::Forward;
        seen.generation == expected || seen.by == By::Fence || was_switched
    }

    /// `FleetShifted::of`, and what `Work::switch` makes of it.
    pub(crate) fn together(&self, tries: &[Try; MOST_EDGES]) -> Result {
        let (mut done, mut elsewhere) = (self.said.expected, [None; MOST_EDGES]);
        let (mut moved, mut not_done, mut uncertain) = (0, 0, 0);
        for (edge, one) in tries.iter().enumerate() {
            match one {
                Try::Ends(Shifted::Done(generation)) => {
                    done[edge] = *generation;
                    moved += 1;
                }
                Try::Ends(Shifted::NotDone) => not_done += 1,
                Try::Ends(Shifted::Elsewhere(seen)) => elsewhere[edge] = Some(*seen),
                Try::Ends(Shifted::Uncertain) => uncertain += 1,
                _ => {}
            }
        }
        let is_elsewhere = elsewhere.iter().any(Option::is_some);
        if moved == self.edges || (self.bug == Some(Bug::PartIsAll) && moved > 0) {
            return Result::Switched(done);
        }
        match (uncertain > 0 || moved > 0, is_elsewhere, not_done > 0) {
            (true, _, _) => Result::SwitchUncertain,
            (false, true, _) => self.moved(&elsewhere),
            (false, false, _) => Result::NotSwitched,
        }
    }
}

/// One round of `shift_until_known` after the route was read.
pub(crate) fn attempt(
    edge: &Edge,
    expected: u8,
    is_healthy: bool,
    is_sent: bool,
) -> std::result::Result<bool, Shifted> {
    if edge.is_away {
        return Err(Shifted::Uncertain);
    }
    let seen = edge.seen();
    let is_there = seen.on == Slot::New && [expected, expected + 1].contains(&seen.generation);
    if !is_there && seen.generation != expected {
        return Err(Shifted::Elsewhere(seen));
    }
    match is_there || is_healthy {
        true => Ok(is_there),
        false if is_sent => Err(Shifted::Uncertain),
        false => Err(Shifted::NotDone),
    }
}

/// Whether a change back has no certain end on an edge. `is_over`: its lease certainly has.
pub(crate) fn is_not_back(asked: &Asked, is_over: bool) -> bool {
    match asked {
        Asked::Not => false,
        Asked::Done(seen) => !seen.is_all_on(Slot::Old),
        Asked::Away => !is_over,
        _ => true,
    }
}
