//! What a driver does next, once it has looked at the routes or has heard from the edges.

use super::daemon::{Asked, Fencing, Stage};
use super::edge::{Put, Seen, Slot, What};
use super::records::{self, Job, Record, Result};
use super::situation::{Situation, Version};
use super::work::{self, Next};
use super::{Bug, MOST_EDGES, Takeover};

impl Situation {
    /// What follows from a look of a driver.
    pub(crate) fn next(&self, of: &Takeover, at: usize) -> Vec<Next> {
        let said = records::said(self.daemons[at].record);
        let view = self.view(of);
        self.known(of, &said, &view).next()
    }

    /// The change that repairs an edge, if it needs one: `Control::repair`.
    pub(crate) fn repair(&self, of: &Takeover, at: usize, edge: usize) -> Option<Put> {
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
    pub(crate) fn conclusions(&self, of: &Takeover, at: usize) -> Vec<Stage> {
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
                    let is_ours = |seen: &Seen| seen.generation == said.switched[edge];
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
    pub(crate) fn after_fences(of: &Takeover, record: Record, so_far: Fencing) -> Vec<Stage> {
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

    pub(crate) fn records(record: Record, result: Result) -> Stage {
        Stage::Records { next: records::after(record, result), is_written: false }
    }
}
