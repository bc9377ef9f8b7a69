//! A route that is on trial, as one look has found it.

use cutover_core::guard::{Figures, Moment};
use cutover_core::route::{Reading, Route};
use cutover_core::slot::SlotId;
use cutover_core::trial::{Terms, Trial, TrialWords};

use crate::clock;
use crate::group::Group;

/// How far back requests are counted where there is no guard to say so, in milliseconds: enough to know whether a fallback is
/// failing.
pub(super) const WINDOW_MS: u32 = 10_000;

/// A group whose route is on trial.
#[derive(Clone, Copy)]
pub(crate) struct OnTrial<'a> {
    pub(crate) group: &'a Group,
    pub(crate) route: Route,
    pub(crate) trial: Trial,
    pub(crate) words: &'a TrialWords,
}

/// The trial of the route that a reading means; `None`: not on trial, or not completely armed yet.
pub(crate) fn of(group: &Group, reading: Reading) -> Option<OnTrial<'_>> {
    match reading {
        Reading::Set(route) if route.to.armed => {
            let words = group.trial_words()?;
            Some(OnTrial { group, route, trial: words.read(route)?, words })
        }
        _ => None,
    }
}

impl OnTrial<'_> {
    pub(crate) fn terms(&self) -> &Terms {
        &self.trial.terms
    }

    /// What the slot on trial has done in the window that ends now.
    pub(crate) fn figures(&self) -> Figures {
        self.figures_of(self.terms().slot)
    }

    /// The same for the slot on trial or its fallback.
    pub(super) fn figures_of(&self, slot: SlotId) -> Figures {
        let cell = self.group.position_of(slot).and_then(|at| self.group.slots.get(at)?.users.cell());
        let counted = self.group.memory().zip(cell);
        counted.map(|(memory, cell)| memory.memfd.window(cell, self.moment())).unwrap_or_default()
    }

    fn moment(&self) -> Moment {
        let window_ms = self.terms().guard.map_or(WINDOW_MS, |guard| guard.window_ms);
        Moment::new(self.route.generation, clock::monotonic_ms(), window_ms)
    }
}
