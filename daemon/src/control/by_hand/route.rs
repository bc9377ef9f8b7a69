//! Moves a route for an operator who waits, until the outcome is certain.

use std::collections::BTreeMap;
use std::time::Duration;

use cutover_core::api::Group as Seen;
use cutover_engine::edge::{Edge, EdgeError, Look, Shift};
use cutover_engine::fleet::{Fleet, FleetRequest, FleetShifted, View};
use cutover_engine::shifting::Fit;

use crate::control::Refusal;

/// Maximum number of tries of a switch.
const MOST_TRIES: u32 = 4;
/// How long an edge that does not answer is retried. It is short because an operator waits.
const PATIENCE: Duration = Duration::from_secs(2);

/// Moves the route. Returns when all edges have confirmed the switch, or when it is certain that it will never take effect.
pub async fn move_route<E: Edge>(
    fleet: &Fleet<'_, E>,
    seen: &View,
    shift: &Shift,
    fit: &impl Fit,
) -> Result<Seen, Refusal> {
    let group = &seen.group.name;
    let request =
        FleetRequest { group, shift, expected: &seen.revisions(), tries: MOST_TRIES, patience: PATIENCE };
    let (slot, group) = (shift.to.clone(), group.clone());
    let merged = |looks: BTreeMap<String, Look>| {
        let groups: Vec<&Seen> = looks.values().map(|look| &look.group).collect();
        Seen::merged(&groups)
    };
    match fleet.forward(&request, fit).await {
        FleetShifted::Done(now) => merged(now).ok_or_else(|| Refusal::Edge(EdgeError::NoEdge)),
        FleetShifted::NotDone(why) => Err(Refusal::NotSwitched(why)),
        FleetShifted::Elsewhere(now) => {
            let moved = now.into_values().next().map(|look| look.moved().text);
            Err(Refusal::NotSwitched(moved.unwrap_or_default()))
        }
        FleetShifted::NotDurable(why) => Err(Refusal::NotOnDisk { slot, group, why }),
        FleetShifted::Uncertain(why) => match fence(fleet, seen, &shift.reason).await {
            // The switch took effect; only its reply was lost.
            Some(now) if now.route().is_all_on(&slot) => Ok(now.group),
            Some(now) => Err(Refusal::NotSwitched(format!(
                "{why}; nothing has moved, and \"{}\" keeps the traffic",
                now.route().active
            ))),
            None => Err(Refusal::SwitchUnknown { group, why }),
        },
    }
}

/// Gives the route a new revision and keeps the active slot, so a switch that is still in transit cannot take effect. Ends a
/// split or a trial, as that switch would have done. Of several edges, all get the slot that they had before: they have moved
/// together or not at all. `None` if an edge has not confirmed it.
async fn fence<E: Edge>(fleet: &Fleet<'_, E>, before: &View, reason: &str) -> Option<View> {
    let group = &before.group.name;
    let now = fleet.look(group).await.ok()?;
    let to = if fleet.is_several() { before.route().active.clone() } else { now.route().active.clone() };
    let shift = Shift { to, reason: reason.to_owned(), share: None, trial: None, fence: true };
    let fenced = fleet.back(group, &shift, &now, PATIENCE).await;
    if fenced.into_values().any(|fenced| fenced.is_err()) {
        return None;
    }
    fleet.look(group).await.ok()
}
