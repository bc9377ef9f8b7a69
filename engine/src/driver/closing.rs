//! Fences the edges that an undoing deployment has not fenced, before the new slot is stopped or the database is reverted.
//!
//! An edge that was away counts as back when its lease is over. That holds for a switch that it has made. And a driver that
//! resumes a switch may find that it has sent nothing, but the driver before it may have. A switch or a repair that is still in
//! transit would give the new slot traffic when it arrives, which may be long after the edge has answered again.

use cutover_core::deployment::{Event, Phase, State};

use super::whereabouts::BACK;
use super::work::Work;
use crate::edge::{Look, ShiftError};
use crate::journal::Journal;
use crate::world::World;

impl<W: World, J: Journal> Work<W, J> {
    /// Makes sure that no change in transit can give the new slot traffic. Returns the event if that is not certain.
    pub(super) async fn close(&self, state: &State) -> Option<Event> {
        // Nothing was sent before the marks were in the journal.
        state.marks.as_ref()?;
        let view = match self.look_at_all_patiently().await {
            Ok(view) => view,
            Err(error) => return Some(Event::StepFailed(error.to_string())),
        };
        let plan = &self.deployment.plan;
        let is_closed = |look: &&Look| !look.route().is_all_on(&plan.from) || self.made(look, BACK);
        let closed: Vec<String> =
            view.edges.iter().filter(|(_, look)| is_closed(look)).map(|(edge, _)| edge.clone()).collect();
        let fence = self.shift_to(&plan.from, BACK, true);
        let left = self.fleet().without(&closed);
        for (edge, fenced) in left.back(&plan.group, &fence, &view, self.patience()).await {
            match fenced {
                // In memory it has a new revision, and a late change is compared with that.
                Ok(_) | Err(ShiftError::NotDurable(_)) => {}
                // It has refused the switch, too.
                Err(ShiftError::Refused(_)) if matches!(state.phase, Phase::TearingDown { .. }) => {}
                Err(error) => {
                    return Some(Event::StepFailed(format!(
                        "edge \"{edge}\" has not confirmed that no earlier change can take effect: {error}"
                    )));
                }
            }
        }
        None
    }
}
