//! The phases draining and warm.

use std::time::Duration;

use cutover_core::deployment::{Event, State, Time};

use super::work::Work;
use crate::fleet::View;
use crate::journal::Journal;
use crate::world::World;

const PAUSE: Duration = Duration::from_millis(100);

impl<W: World, J: Journal> Work<W, J> {
    /// Waits until the old slot holds no request. The new slot is judged on meanwhile.
    pub(super) async fn drain_old(&self, until: Time, state: &State) -> Event {
        let slot = &self.deployment.plan.from;
        tokio::select! {
            event = self.drain_to_the_end(slot, until, state) => event,
            why = self.turns_bad(state) => Event::SoakBad(why),
        }
    }

    /// The same. Without a warm window, the old slot is stopped next, for all companions at once.
    async fn drain_to_the_end(&self, slot: &str, until: Time, state: &State) -> Event {
        let event = self.drain(slot, until, Some(state)).await;
        let is_over = matches!(event, Event::Drained | Event::DrainTimedOut(_));
        match is_over && self.deployment.plan.warm.is_zero() {
            true => self.all_over(event, state).await,
            false => event,
        }
    }

    /// Waits until the warm window is over for all companions, too.
    async fn window_over_for_all(&self, until: Time) {
        self.window_over(until).await;
        self.all_here().await;
    }

    /// Waits until the new slot holds no request. The route has moved back, so it may have any revision.
    pub(super) async fn drain_new(&self, until: Time) -> Event {
        self.drain(&self.deployment.plan.to, until, None).await
    }

    /// Waits until a slot holds no request. `switched`: the state of a deployment whose switch must still count.
    async fn drain(&self, slot: &str, until: Time, switched: Option<&State>) -> Event {
        loop {
            let left = match self.look_at_all().await {
                Ok(look) => match (self.moved_from(&look, switched).await, look.group.has_traffic(slot)) {
                    (Some(moved), _) => return moved,
                    (None, Some(held)) if !held.is_routed() => held.to_string(),
                    // One edge of several that is not as the others are is repaired.
                    (None, Some(routed)) if self.fleet().is_several() => routed.to_string(),
                    (None, Some(_)) => return Event::RouteMoved(look.moved()),
                    (None, None) => return Event::Drained,
                },
                Err(error) => format!("holds an unknown number of requests: {error}"),
            };
            let now = self.clock.now();
            if now >= until {
                let limit = self.deployment.policy.drain.deadline;
                return Event::DrainTimedOut(format!("slot \"{slot}\" still {left} after {limit}"));
            }
            tokio::time::sleep(PAUSE.min(now.until(until))).await;
        }
    }

    async fn moved_from(&self, look: &View, switched: Option<&State>) -> Option<Event> {
        self.moved_since_switch(look, switched?).await
    }

    /// Waits until the warm window is over and the old slot may be stopped, the route has moved, or the new slot has to go back.
    pub(super) async fn keep_warm(&self, until: Time, state: &State) -> Event {
        tokio::select! {
            () = self.window_over_for_all(until) => Event::WarmOver,
            event = self.watch_route(state) => event,
            event = self.watch_new_slot() => event,
            () = self.watch_old_slot(state) => Event::WarmOver,
        }
    }

    /// Waits until the route has moved. Ignores an edge that does not answer.
    pub(super) async fn watch_route(&self, state: &State) -> Event {
        loop {
            if let Ok(look) = self.look().await
                && let Some(moved) = self.moved_since_switch(&look, state).await
            {
                return moved;
            }
            tokio::time::sleep(self.deployment.policy.probe.interval.get()).await;
        }
    }
}
