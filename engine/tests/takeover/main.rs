//! A model of several edges and of the takeover between two daemons, in which every order of events is explored.
//!
//! ```text
//! daemon A ---- changes ----+            the transitions of a deployment are core's own;
//!    |                      v            the work of a phase is modelled by messages, as the driver does it
//!  record, epoch       edge 1, 2, 3
//!    v                      ^            messages are lost, late, doubled; processes crash and pause;
//!  store     daemon B ------+            edges are cut off; leases run out at any moment
//! ```
//!
//! `cargo test --package cutover-engine --features model --test takeover --profile models --target-dir target/models`; without the
//! feature nothing is here.
//!
//! docs/takeover-model.md has what each step stands for, and the number of situations of each run.
#![cfg(feature = "model")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a model fails by panicking, and its arrays have one place for each edge"
)]

mod bugs;
mod daemon;
mod deciding;
mod edge;
mod faults;
mod happening;
mod possible;
mod properties;
mod records;
mod runs;
mod situation;
mod work;

use faults::Faults;
use situation::{Action, Situation};
use stateright::{Checker, Model, Property};

/// The most edges that a model can have.
const MOST_EDGES: usize = 3;
/// The daemons of a model.
const DAEMONS: usize = 2;

/// A part of the protocol that is left out, so that the model must find what goes wrong without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
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
    /// A slot is stopped although an edge counts as back that was never fenced.
    NoClosing,
    /// A slot is stopped without a look at the routes.
    StopsUnseen,
}

/// The model: how much there is of everything.
#[derive(Clone, Copy, Debug)]
struct Takeover {
    edges: usize,
    faults: Faults,
    bug: Option<Bug>,
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
        properties::all()
    }
}

/// Explores everything that can happen. Returns the number of situations, and what was found.
fn explore(of: Takeover) -> (usize, Vec<(&'static str, Vec<Action>)>) {
    let checker = of.checker().spawn_bfs().join();
    let found = checker.discoveries().into_iter().map(|(name, path)| (name, path.into_actions()));
    (checker.unique_state_count(), found.collect())
}
