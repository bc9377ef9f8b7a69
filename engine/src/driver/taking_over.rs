//! The first act of a driver that takes over from another process: it fences the routes and journals the new revisions.
//!
//! The other process may have sent a change that is still in transit. Each change names the revision that it expects, so it fails
//! once the route has a later one. A route that has moved since needs no fence: the work of the phase finds that out, and a way
//! back is a fence itself.

use std::collections::BTreeMap;
use std::time::Duration;

use cutover_core::deployment::{Event, Phase, Revision, Store};
use tokio::time::Instant;

use super::switching::FORWARD;
use super::{Driven, JournalError};
use crate::edge::{Look, ShiftError, is_on};
use crate::journal::Journal;
use crate::shifting::PATIENCE;
use crate::world::World;

/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// What the edge's log calls it.
const TAKEOVER: &str = "takeover of";

impl<W: World, J: Journal> Driven<W, J> {
    /// Fences the routes on which a change of an earlier driver could still take effect. An edge that does not answer in time is
    /// left alone; the work of the phase reports it.
    pub(super) async fn take_over(&self) -> Result<(), JournalError> {
        let before = self.state.borrow().clone();
        let fleet = self.work.fleet();
        let mut left: BTreeMap<String, Revision> = fleet
            .names()
            .filter_map(|edge| Some((edge.to_owned(), before.fences_at(edge)?.clone())))
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        let patience = match fleet.is_several() {
            true => self.work.deployment.policy.fleet.patience.get().min(PATIENCE),
            false => PATIENCE,
        };
        let (begin, all) = (Instant::now(), left.len());
        let (mut next, mut said, mut arrived) = (before, Vec::new(), BTreeMap::new());
        while !left.is_empty() && begin.elapsed() < patience {
            for (edge, now) in self.fence(&mut left, patience).await {
                let from = next.fences_at(&edge).map(ToString::to_string).unwrap_or_default();
                said.push(format!("{from} is {} now", now.revision));
                if is_on(now.route(), &self.work.deployment.plan.to, self.work.share(&next).as_ref()) {
                    arrived.insert(edge.clone(), now.revision.clone());
                }
                next = next.fenced(&edge, now.revision);
            }
            if !left.is_empty() {
                tokio::time::sleep(PAUSE).await;
            }
        }
        if said.is_empty() {
            return Ok(());
        }
        let mut message = format!("another daemon goes on with it; the route is fenced: {}", said.join(", "));
        // The switch has taken effect on all edges, and nobody has heard of it.
        if next.phase == Phase::Switching(Store::Storing) && arrived.len() == all {
            let switched = Event::Switched { revisions: arrived };
            if let Ok(soaking) = self.work.deployment.plan.step(&next, switched, self.work.clock.now()) {
                next = soaking;
                message.push_str("; the switch had taken effect");
            }
        }
        self.record(next, message).await
    }

    /// One round over the edges that are `left`. Returns the routes that have a new revision, and removes what needs no more tries.
    async fn fence(
        &self,
        left: &mut BTreeMap<String, Revision>,
        patience: Duration,
    ) -> BTreeMap<String, Look> {
        let (id, fleet) = (&self.work.deployment.id, self.work.fleet());
        let view = match self.work.look().await {
            Ok(view) => view,
            Err(error) => {
                tracing::warn!(deployment = id, %error, "failed to read the route to fence; trying again");
                return BTreeMap::new();
            }
        };
        let reason = self.work.reason(TAKEOVER);
        let mut seen = BTreeMap::new();
        for (edge, look) in &view.edges {
            let Some(expected) = left.get(edge) else { continue };
            if self.is_expected(look, expected, &reason) {
                seen.insert(edge.clone(), look);
            } else {
                left.remove(edge);
            }
        }
        let lease = self.work.deployment.policy.trial.lease.map(|lease| lease.get());
        let mut fenced = BTreeMap::new();
        for (edge, done) in fleet.fence(&seen, &reason, lease, patience).await {
            match done {
                Ok(now) => {
                    left.remove(&edge);
                    // The trial has failed meanwhile, so there is nothing to fence.
                    if seen.get(&edge).is_some_and(|look| look.revision != now.revision) {
                        fenced.insert(edge, now);
                    }
                }
                // The next round sees where to.
                Err(ShiftError::Moved(_)) => {}
                Err(error) => {
                    tracing::warn!(deployment = id, edge, %error, "failed to fence the route; trying again");
                }
            }
        }
        fenced
    }

    /// Whether only drivers of this deployment have moved the route to its revision.
    fn is_expected(&self, look: &Look, expected: &Revision, reason: &str) -> bool {
        let is_by = |what: &str| look.reason.as_ref().is_some_and(|seen| seen.starts_with(what));
        // An earlier try, or an earlier driver that took over, has fenced it, and nobody has heard of it.
        let was_fenced = is_by(reason);
        let was_switched = look.follows.as_ref() == Some(expected) && is_by(&self.work.reason(FORWARD));
        look.revision == *expected || was_fenced || was_switched
    }
}
