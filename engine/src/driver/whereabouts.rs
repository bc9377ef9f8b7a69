//! Detects that the route has moved since this deployment's switch.

use std::collections::BTreeMap;
use std::time::Duration;

use cutover_core::deployment::{Event, Mark, Moved, Phase, State, TakenBackBy};

use super::work::Work;
use crate::edge::{Look, is_on};
use crate::fleet::View;
use crate::journal::Journal;
use crate::world::World;

/// What the edge's log calls a change that takes traffic back.
pub(super) const BACK: &str = "rollback";

/// Every edge keeps at least so many bytes of a reason.
const KEPT: usize = 100;

/// Time for the edge to write down what it did.
const PAUSE: Duration = Duration::from_millis(300);

impl<W: World, J: Journal> Work<W, J> {
    /// Returns an event if the route has moved since the switch of this step.
    ///
    /// After the commit, one edge of several that is not as the others are is repaired: it was away, or somebody has moved it
    /// alone.
    pub(super) async fn moved_since_switch(&self, view: &View, state: &State) -> Option<Event> {
        let strays = self.strays(view, state);
        let is_repaired = is_committed(&state.phase) && strays.len() < view.edges.len();
        if strays.is_empty() || is_repaired { None } else { Some(self.moved(&strays, state).await) }
    }

    /// The edges whose route is not as this deployment has left it.
    pub(super) fn strays(&self, view: &View, state: &State) -> BTreeMap<String, Look> {
        let share = self.share(state);
        let is_stray = |edge: &str, look: &Look| {
            let switched = mark(state, edge).and_then(|mark| mark.switched.as_ref());
            let is_there = is_on(look.route(), &self.deployment.plan.to, share.as_ref());
            !is_there || switched.is_some_and(|revision| *revision != look.revision)
        };
        let strays = view.edges.iter().filter(|(edge, look)| is_stray(edge, look));
        strays.map(|(edge, look)| (edge.clone(), look.clone())).collect()
    }

    /// The event for routes that this deployment has not moved: the edges took the traffic back, or somebody else moved it.
    pub(super) async fn moved(&self, edges: &BTreeMap<String, Look>, state: &State) -> Event {
        let is_several = self.fleet().is_several();
        // Of several edges, one that somebody has moved alone: users must not see both versions, so all go back.
        let is_alone = is_several && edges.len() < state.marks.as_ref().map_or(0, |marks| marks.edges.len());
        let mut taken_back = None;
        for (edge, look) in edges {
            let by = match self.taken_back_by(edge, look).await {
                None if is_alone => TakenBackBy::Hand,
                None => {
                    let moved = look.moved();
                    let text = match is_several {
                        true => format!("edge \"{edge}\": {moved}"),
                        false => moved.text,
                    };
                    return Event::RouteMoved(Moved { text, ..moved });
                }
                Some(by) => by,
            };
            if is_several {
                let route = look.route();
                let message = match by {
                    TakenBackBy::Hand => {
                        format!("somebody has moved the traffic of edge \"{edge}\" alone: {route}")
                    }
                    by => format!("the {by} of edge \"{edge}\" has moved its traffic back: {route}"),
                };
                self.note(state.phase.name(), &message).await;
            }
            taken_back = taken_back.max(Some(by));
        }
        taken_back.map_or_else(|| Event::StepFailed("no edge has moved".to_owned()), Event::TakenBack)
    }

    /// What has moved the traffic of an edge back to the old slot, if it is not somebody else.
    async fn taken_back_by(&self, edge: &str, look: &Look) -> Option<TakenBackBy> {
        let is_back = |look: &Look| look.route().is_all_on(&self.deployment.plan.from);
        // A rollback goes on without its record if the journal cannot be written.
        let by_us = self.made(look, BACK).then_some(TakenBackBy::Rollback);
        let by = look.taken_back.or(by_us).filter(|_| is_back(look));
        if by.is_some() || !is_back(look) {
            return by;
        }
        // The edge writes down who moved the route after it has moved it.
        tokio::time::sleep(PAUSE).await;
        let again = self.look().await.ok()?;
        again.edges.get(edge).filter(|look| is_back(look))?.taken_back
    }

    /// Whether this deployment has made the last change of the route.
    pub(super) fn made(&self, look: &Look, what: &str) -> bool {
        let ours = format!("{} ", self.reason(what));
        // The edge may keep only the beginning of a reason.
        look.reason.as_ref().is_some_and(|reason| {
            reason.starts_with(&ours) || (reason.len() >= KEPT && ours.starts_with(reason.as_str()))
        })
    }
}

/// The mark of an edge.
pub(super) fn mark<'a>(state: &'a State, edge: &str) -> Option<&'a Mark> {
    state.marks.as_ref()?.edges.get(edge)
}

/// Whether the new version stays, whatever a single edge does.
fn is_committed(phase: &Phase) -> bool {
    matches!(phase, Phase::Draining { .. } | Phase::Warm { .. })
}
