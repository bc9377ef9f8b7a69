//! Gives a route a new revision and leaves the traffic where it is, so a change that is still in transit cannot take effect.

use std::time::Duration;

use cutover_core::api::TrialPhase;

use crate::edge::{Edge, Look, Partial, Shift, ShiftError, TrialTerms};

/// Gives the route that was read a new revision. A split stays, and a trial is armed again with the same slots and terms; its lease
/// begins anew with `lease`, or with the time that it had left.
///
/// A trial whose traffic should have gone back, and one whose traffic goes back now, are left alone: [`Look`] is returned as it
/// was.
pub async fn fence<E: Edge>(
    edge: &E,
    look: &Look,
    reason: &str,
    lease: Option<Duration>,
) -> Result<Look, ShiftError> {
    let (group, route) = (&look.group, look.route());
    let trial = route.trial.as_ref();
    if trial.is_some_and(|trial| trial.phase != TrialPhase::Armed) {
        return Ok(look.clone());
    }
    let second = group.slots.iter().find_map(|slot| Some((&slot.name, route.share(&slot.name)?)));
    let (to, share) = match second {
        Some((slot, percent)) => (slot, Some(Partial { percent, rest: route.active.clone() })),
        None => (&route.active, None),
    };
    let terms = trial.map(|trial| TrialTerms {
        lease: trial.lease_left_ms.map(|left| lease.unwrap_or(Duration::from_millis(left))),
        guard: trial.guard,
        rescue: trial.rescue,
    });
    let shift = Shift { to: to.clone(), share, reason: reason.to_owned(), trial: terms, fence: true };
    edge.shift(&group.name, &shift, &look.revision).await
}
