//! Deployments of several groups that move together: the waits of one for the others, and what it does when one goes back.

use cutover_core::deployment::{Cause, CauseKind, Departure, Event, Phase, Plan, State, Time};
use futures_util::future::join_all;
use tokio::time::{Duration, Instant};

use super::work::Work;
use crate::companions::Departed;
use crate::edge::Look;
use crate::fleet::FleetRequest;
use crate::journal::Journal;
use crate::shifting::Fit;
use crate::world::World;

/// A slot that was verified, and watched until this long ago, is not verified once more before the first try of a switch.
const FRESH: Duration = Duration::from_millis(200);

/// A check that has just passed is not made again: all deployments that move together send their changes at once.
pub(super) struct JustChecked<F> {
    pub(super) fit: F,
    pub(super) at: Instant,
}

impl<F: Fit> Fit for JustChecked<F> {
    async fn check(&self, look: &Look) -> Result<(), String> {
        if self.at.elapsed() < FRESH { Ok(()) } else { self.fit.check(look).await }
    }
}

impl<W: World, J: Journal> Work<W, J> {
    /// Waits until all companions are where this deployment is. Returns at once if there is none.
    pub(super) async fn all_here(&self) {
        if let Some(others) = &self.others {
            others.all_here().await;
        }
    }

    /// The event of a companion that does not go forward any more. Never ends if there is none, and in a phase that does not
    /// follow.
    pub(super) async fn companion_departed(&self, state: &State) -> Event {
        let Some(others) = self.others.as_ref().filter(|_| state.follows_companions()) else {
            return std::future::pending().await;
        };
        let has_moved = state.new_slot_has_traffic();
        let is_permanent = matches!(state.phase, Phase::Draining { .. } | Phase::Warm { .. });
        let goes_back = |departed: &Departed| matches!(departed.how, Departure::Back(_));
        let departed = others.departed(|_| true).await;
        if !has_moved || goes_back(&departed) || !self.stays(&departed).await {
            return Event::CompanionBack(followed(&departed));
        }
        if is_permanent {
            // Its traffic is where this deployment wants it, and so is that of this group.
            return Event::CompanionBack(followed(&others.departed(goes_back).await));
        }
        // Nothing renews the lease of a deployment that is stuck.
        let text = match self.let_stay().await {
            Ok(()) => "so this group stays with it".to_owned(),
            Err(error) => format!("but the trial of this group goes on, so its traffic may go back: {error}"),
        };
        let Plan { group, to, .. } = &departed.deployment.plan;
        Event::CompanionStays(format!(
            "{}; its traffic stays on slot \"{to}\", {text}; next for that group: cutover status {}",
            followed(&departed),
            cutover_core::shell::quoted(group)
        ))
    }

    /// Whether the traffic of a companion that is stuck is on its new slot. If that cannot be read, the answer is no.
    async fn stays(&self, departed: &Departed) -> bool {
        let (plan, policy) = (&departed.deployment.plan, &departed.deployment.policy);
        let fleet = self.world.fleet(&policy.edges).without(&plan.excluded);
        let look = fleet.look_patiently(&plan.group, crate::shifting::PATIENCE).await;
        look.is_ok_and(|look| look.route().active == plan.to)
    }

    async fn let_stay(&self) -> Result<(), String> {
        let view = self.look().await.map_err(|error| error.to_string())?;
        self.end_trial(&view, "a deployment that moves with this one is stuck").await
    }

    /// Verifies the new slot on all edges, and waits until all companions have done the same. Returns when that was. The slot is
    /// probed on during the wait.
    pub(super) async fn all_proven(
        &self,
        request: &FleetRequest<'_>,
        state: &State,
        fit: &impl Fit,
    ) -> Result<Instant, Event> {
        let Some(others) = &self.others else { return Ok(Instant::now()) };
        let uncertain =
            |why: String| Event::SwitchUncertain(format!("the switch could not be confirmed: {why}"));
        let view = self.look_at_all_patiently().await.map_err(|error| uncertain(error.to_string()))?;
        // An interrupted run has moved these.
        let is_done = |edge: &str, look: &Look| {
            let expected = request.expected.get(edge);
            // One that was fenced after that has a later revision.
            let is_next = look.follows.as_ref() == expected || Some(&look.revision) == expected;
            request.shift.is_on(look.route()) && is_next
        };
        let (done, left): (Vec<_>, Vec<_>) = view.edges.iter().partition(|(edge, look)| is_done(edge, look));
        let is_moved = |edge: &str, look: &Look| request.expected.get(edge) != Some(&look.revision);
        let moved = left.iter().filter(|(edge, look)| is_moved(edge, look));
        let moved: std::collections::BTreeMap<String, Look> =
            moved.map(|(edge, look)| ((*edge).clone(), (*look).clone())).collect();
        let has_moved = !done.is_empty();
        let not_switched = |why: String| if has_moved { uncertain(why) } else { Event::NotSwitched(why) };
        if let Some((edge, look)) = moved.iter().next() {
            return Err(match has_moved {
                true => uncertain(format!("edge \"{edge}\": {}", look.moved())),
                false => self.moved(&moved, state).await,
            });
        }
        for checked in join_all(left.iter().map(|(_, look)| fit.check(look))).await {
            checked.map_err(not_switched)?;
        }
        tokio::select! {
            biased;
            () = others.all_here() => Ok(Instant::now()),
            departed = others.departed(|_| true) => match has_moved {
                true => Err(uncertain(followed(&departed).text)),
                false => Err(Event::CompanionBack(followed(&departed))),
            },
            why = self.new_slot_sick() => match others.leaves() {
                true => Err(not_switched(why)),
                false => Ok(Instant::now()),
            },
            () = self.renew_on(state) => Ok(Instant::now()),
        }
    }

    /// Waits until all companions make their switch permanent, too. Fails with the event of a route that moves meanwhile.
    pub(super) async fn all_confirm(&self, state: &State) -> Result<(), Event> {
        tokio::select! {
            biased;
            () = self.all_here() => Ok(()),
            event = self.moved_meanwhile(state) => Err(event),
        }
    }

    /// Waits until the time for a way back is over for all companions. Ends early with the event of a route that moves.
    pub(super) async fn all_over(&self, event: Event, state: &State) -> Event {
        tokio::select! {
            biased;
            () = self.all_here() => event,
            moved = self.watch_route(state) => moved,
        }
    }

    /// A pause of the watch over a step. Returns the verdict that waits for those of the companions, when all are there.
    /// `is_whole`: whether all edges have answered; otherwise nothing goes forward.
    pub(super) async fn pause_with(
        &self,
        passed: &Option<Event>,
        is_whole: bool,
        (until, interval): (Option<Time>, Duration),
    ) -> Option<Event> {
        let (Some(event), Some(others)) = (passed, &self.others) else {
            self.pause_before(until, interval).await;
            return None;
        };
        if !is_whole && others.leaves() {
            tokio::time::sleep(interval).await;
            return None;
        }
        tokio::select! {
            biased;
            () = others.all_here() => Some(event.clone()),
            () = tokio::time::sleep(interval) => None,
        }
    }

    /// Whether the verdict of a step lets this deployment go forward, so that it waits for its companions.
    pub(super) fn waits_with(&self, event: &Event, state: &State) -> bool {
        let next = self.deployment.plan.step(state, event.clone(), self.clock.now());
        let goes_forward =
            next.is_ok_and(|next| matches!(next.phase, Phase::Switching(_) | Phase::Confirming(_)));
        self.others.is_some() && goes_forward
    }

    /// Renews the lease of an earlier step. Never ends.
    async fn renew_on(&self, state: &State) {
        loop {
            if state.has_share()
                && let Ok(look) = self.look().await
            {
                self.renew(&look).await;
            }
            tokio::time::sleep(self.deployment.policy.soak.interval.get()).await;
        }
    }

    /// Renews the lease of a switch until its route has moved.
    async fn moved_meanwhile(&self, state: &State) -> Event {
        loop {
            if let Ok(look) = self.look().await {
                if let Some(event) = self.moved_or_held(&look, state).await {
                    return event;
                }
                self.renew(&look).await;
            }
            tokio::time::sleep(self.deployment.policy.soak.interval.get()).await;
        }
    }

    /// What the operator of a stuck deployment has to know about its companions. Empty if there is nothing.
    pub(super) fn left_by_companions(&self) -> String {
        let gone = self.others.iter().flat_map(|others| others.gone_back());
        let gone = gone.map(|deployment| {
            let Plan { group, from, .. } = &deployment.plan;
            format!("; group \"{group}\" goes back to slot \"{from}\", so users may have two versions")
        });
        gone.collect()
    }
}

/// The cause for a deployment that follows.
fn followed(departed: &Departed) -> Cause {
    let group = &departed.deployment.plan.group;
    match &departed.how {
        Departure::Back(cause) => Plan::followed(group, cause),
        Departure::Stuck(reason) => Cause {
            kind: CauseKind::Companion,
            text: format!("group \"{group}\", which moves with this one, is stuck: {reason}"),
            blames_version: false,
        },
    }
}
