//! Waiting for requests under way, and keeping the way back warm.

use std::time::Duration;

use cutover_core::api::{RouteState, Traffic};
use cutover_core::deployment::{Event, Old, Time};

use super::Scene;
use super::switching::moved;
use crate::world::World;

const PAUSE: Duration = Duration::from_millis(100);

impl<W: World> Scene<W> {
    /// Until the old slot holds no request.
    pub(super) async fn drain_old(&self, until: Time, generation: u32) -> Event {
        let plan = &self.deployment.plan;
        let is_moved = |route: &RouteState| route.active != plan.to || route.generation != generation;
        self.drain(&plan.from, until, is_moved).await
    }

    /// Until the new slot holds no request. The route may have any generation: it was moved back.
    pub(super) async fn drain_new(&self, until: Time) -> Event {
        let plan = &self.deployment.plan;
        self.drain(&plan.to, until, |route| route.routes_to(&plan.to).is_some()).await
    }

    async fn drain(&self, slot: &str, until: Time, was_moved: impl Fn(&RouteState) -> bool) -> Event {
        loop {
            let left = match self.world.group(&self.deployment.plan.group).await {
                Ok(group) if was_moved(&group.route) => return Event::RouteMoved(moved(&group)),
                Ok(group) => match group.has_traffic(slot) {
                    Some(held @ Traffic::InFlight { .. }) => held.to_string(),
                    Some(_) => return Event::RouteMoved(moved(&group)),
                    None => return Event::Drained,
                },
                Err(error) => format!("holds an unknown number of requests, since nginx {error}"),
            };
            let now = self.clock.now();
            if now >= until {
                let limit = self.deployment.config.drain.deadline;
                return Event::DrainTimedOut(format!("slot \"{slot}\" still {left} after {limit}"));
            }
            tokio::time::sleep(PAUSE.min(now.until(until))).await;
        }
    }

    /// Until the window is over, or somebody else decides where the traffic goes.
    pub(super) async fn keep_warm(&self, until: Time, generation: u32, old: Old) -> Event {
        tokio::select! {
            () = self.clock.sleep_until(until) => Event::WarmOver,
            event = self.watch_route(generation) => event,
            () = self.watch_old_slot("warm", old) => Event::WarmOver,
        }
    }

    /// Ends when the route has moved. An nginx that does not answer says nothing about that.
    async fn watch_route(&self, generation: u32) -> Event {
        let plan = &self.deployment.plan;
        loop {
            if let Ok(group) = self.world.group(&plan.group).await
                && (group.route.active != plan.to || group.route.generation != generation)
            {
                return Event::RouteMoved(moved(&group));
            }
            tokio::time::sleep(self.deployment.config.probe.interval.get()).await;
        }
    }
}
