//! Detects that the route has moved since this deployment's switch.

use std::time::Duration;

use cutover_core::deployment::{Event, Mark, State, TakenBackBy};

use super::switching::BACK;
use super::work::Work;
use crate::edge::{Look, is_on};
use crate::journal::Journal;
use crate::world::World;

/// Every edge keeps at least so many bytes of a reason.
const KEPT: usize = 100;

/// Time for the edge to write down what it did.
const PAUSE: Duration = Duration::from_millis(300);

impl<W: World, J: Journal> Work<W, J> {
    /// The mark of this deployment's edge.
    pub(super) fn mark(&self, state: &State) -> Mark {
        let marks = state.marks.as_ref();
        marks.and_then(|marks| marks.edges.get(self.world.name())).cloned().unwrap_or_default()
    }

    /// Returns an event if the route has moved since the switch of this step.
    pub(super) async fn moved_since_switch(&self, look: &Look, state: &State) -> Option<Event> {
        let is_there = is_on(look.route(), &self.deployment.plan.to, self.share(state).as_ref());
        let is_ours = is_there && self.mark(state).switched.is_none_or(|revision| revision == look.revision);
        if is_ours { None } else { Some(self.moved(look).await) }
    }

    /// The event for a route that this deployment has not moved: the edge took the traffic back, or somebody else moved it.
    pub(super) async fn moved(&self, look: &Look) -> Event {
        let is_back = |look: &Look| look.route().is_all_on(&self.deployment.plan.from);
        // A rollback goes on without its record if the journal cannot be written.
        let ours = format!("{} ", self.reason(BACK));
        // The edge may keep only the beginning of a reason.
        let is_ours = look.reason.as_ref().is_some_and(|reason| {
            reason.starts_with(&ours) || (reason.len() >= KEPT && ours.starts_with(reason.as_str()))
        });
        let by_us = is_ours.then_some(TakenBackBy::Rollback);
        let mut by = look.taken_back.or(by_us).filter(|_| is_back(look));
        if by.is_none() && is_back(look) {
            // The edge writes down who moved the route after it has moved it.
            tokio::time::sleep(PAUSE).await;
            let again = self.world.look(&self.deployment.plan.group).await.ok().filter(is_back);
            by = again.and_then(|again| again.taken_back);
        }
        by.map_or_else(|| Event::RouteMoved(look.moved()), Event::TakenBack)
    }
}
