//! A model of the fleet and of the takeover between daemons, explored exhaustively.
//!
//! The transitions of a deployment are core's own. The work of the phases is modelled by messages, as the driver does it.

mod daemon;
mod edge;
mod faults;
mod records;
mod situation;
mod work;

use faults::Faults;
use situation::{Action, Broken, Situation};
use stateright::{Checker, Model, Property};

/// The most edges that a model can have.
const MOST_EDGES: usize = 3;
/// The most daemons.
const MOST_DAEMONS: usize = 2;

/// A part of the protocol that is left out, so that the model must find what goes wrong without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// The way back changes no generation if the old slot has the traffic already.
    NoFence,
    /// The store compares no epoch.
    NoEpoch,
    /// An edge compares no generation.
    NoExpectedGeneration,
    /// The change forward has no lease.
    NoLease,
    /// The confirmation is sent before its record is written.
    ConfirmsBeforeRecord,
    /// A part of the edges counts as all.
    PartIsAll,
    /// A driver that takes over does not fence.
    NoTakeoverFence,
    /// A daemon that was paused does not look whether it still leads.
    NoLeaseCheck,
}

/// The model: how much there is of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Takeover {
    pub(crate) edges: usize,
    pub(crate) daemons: usize,
    pub(crate) faults: Faults,
    pub(crate) bug: Option<Bug>,
}

impl Model for Takeover {
    type State = Situation;
    type Action = Action;

    fn init_states(&self) -> Vec<Situation> {
        vec![Situation::new(self)]
    }

    fn actions(&self, situation: &Situation, actions: &mut Vec<Action>) {
        situation.actions(self, actions);
    }

    fn next_state(&self, situation: &Situation, action: Action) -> Option<Situation> {
        Some(situation.after(self, action))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties()
    }
}

fn properties() -> Vec<Property<Takeover>> {
    vec![
        Property::always("traffic moves only to a proven slot", |_, now: &Situation| {
            now.broken != Some(Broken::Unproven)
        }),
        Property::always("no slot is stopped while it has traffic", |_, now: &Situation| {
            now.broken != Some(Broken::StoppedInUse)
        }),
        Property::always("no edge makes a change of an earlier epoch", |_, now: &Situation| {
            now.broken != Some(Broken::OldChange)
        }),
        Property::always("the store takes records of the newest epoch only", |_, now: &Situation| {
            now.broken != Some(Broken::OldRecord)
        }),
        Property::always("before the commit, the new version has a lease", |_, now: &Situation| {
            now.store.is_committed || now.edges.iter().all(|edge| edge.on == edge::Slot::Old || edge.on_trial)
        }),
        Property::always("when all is quiet, all edges are where the journal says", |of, now: &Situation| {
            if now.broken.is_some() || !now.is_quiet(of) {
                return true;
            }
            match records::said(now.store.record).ended {
                Some(Some(slot)) => now.edges.iter().take(of.edges).all(|edge| edge.on == slot),
                Some(None) => true,
                None => false,
            }
        }),
        Property::sometimes("completed", |_, now: &Situation| {
            records::said(now.store.record).phase == "completed"
        }),
        Property::sometimes("stuck", |_, now: &Situation| records::said(now.store.record).phase == "stuck"),
    ]
}

fn explore(of: Takeover) -> impl Checker<Takeover> {
    let begin = std::time::Instant::now();
    let checker = of.checker().spawn_bfs().join();
    println!(
        "{} edges, {} daemons, {:?}, {:?}: {} states, {:?}",
        of.edges,
        of.daemons,
        of.faults,
        of.bug,
        checker.unique_state_count(),
        begin.elapsed()
    );
    for (name, path) in checker.discoveries() {
        if name == "completed" || name == "stuck" && of.faults.cut > 0 {
            continue;
        }
        println!("  {name}: {:?}", path.into_actions());
    }
    checker
}

#[test]
fn small() {
    for faults in [
        Faults::default(),
        Faults { crashes: 1, ..Faults::default() },
        Faults { lost: 1, crashes: 1, ..Faults::default() },
        Faults { cut: 1, ..Faults::default() },
        Faults { cut: 1, crashes: 1, ..Faults::default() },
    ] {
        for edges in [1, 2] {
            explore(Takeover { edges, daemons: 2, faults, bug: None });
        }
    }
}
