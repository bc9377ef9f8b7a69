//! Detects that the route has moved since this deployment's switch.

use cutover_core::deployment::{Event, Mark, State};

use super::work::Work;
use crate::edge::{Edge, Look};

impl<W: Edge, J> Work<W, J> {
    /// The mark of this deployment's edge.
    pub(super) fn mark(&self, state: &State) -> Mark {
        let marks = state.marks.as_ref();
        marks.and_then(|marks| marks.edges.get(self.world.name())).cloned().unwrap_or_default()
    }

    /// Returns an event if the route has moved since the switch.
    pub(super) fn moved_since_switch(&self, look: &Look, state: &State) -> Option<Event> {
        let is_ours = look.route().active == self.deployment.plan.to
            && self.mark(state).switched.is_none_or(|revision| revision == look.revision);
        (!is_ours).then(|| self.moved(look))
    }

    /// The event for a route that this deployment has not moved: the edge took the traffic back, or somebody else moved it.
    pub(super) fn moved(&self, look: &Look) -> Event {
        match look.taken_back {
            Some(by) if look.route().is_all_on(&self.deployment.plan.from) => Event::TakenBack(by),
            _ => Event::RouteMoved(look.moved()),
        }
    }
}
