//! Waiting for requests under way, and keeping the way back warm.

use std::time::Duration;

use cutover_core::deployment::{Event, Time};

use super::Scene;
use crate::world::World;

const PAUSE: Duration = Duration::from_millis(100);

impl<W: World> Scene<W> {
    /// Until the old slot holds no request.
    pub(super) async fn drain_old(&self, until: Time, generation: u32) -> Event {
        let plan = &self.deployment.plan;
        self.drain(&plan.from, until, |active, now| active != plan.to || now != generation).await
    }

    /// Until the new slot holds no request. The route may have any generation: it was moved back.
    pub(super) async fn drain_new(&self, until: Time) -> Event {
        let plan = &self.deployment.plan;
        self.drain(&plan.to, until, |active, _| active == plan.to).await
    }

    async fn drain(&self, slot: &str, until: Time, was_moved: impl Fn(&str, u32) -> bool) -> Event {
        loop {
            let left = match self.world.group(&self.deployment.plan.group).await {
                Ok(group) if was_moved(&group.route.active, group.route.generation) => {
                    return Event::RouteMoved {
                        active: group.route.active,
                        generation: group.route.generation,
                    };
                }
                Ok(group) => match group.slot(slot).map_or(0, |slot| slot.counters.in_flight) {
                    0 => return Event::Drained,
                    1 => "1 request".to_owned(),
                    more => format!("{more} requests"),
                },
                Err(error) => format!("an unknown number of requests, since nginx {error}"),
            };
            let now = self.clock.now();
            if now >= until {
                let limit = self.deployment.config.drain.deadline;
                return Event::DrainTimedOut(format!("slot \"{slot}\" still holds {left} after {limit}"));
            }
            tokio::time::sleep(PAUSE.min(now.until(until))).await;
        }
    }

    /// Until the window is over, or somebody else decides where the traffic goes.
    pub(super) async fn keep_warm(&self, until: Time, generation: u32) -> Event {
        tokio::select! {
            () = self.clock.sleep_until(until) => Event::WarmOver,
            event = self.watch_route(generation) => event,
            () = self.watch_old_slot("warm") => Event::WarmOver,
        }
    }

    /// Ends when the route has moved. An nginx that does not answer says nothing about that.
    async fn watch_route(&self, generation: u32) -> Event {
        let plan = &self.deployment.plan;
        loop {
            if let Ok(group) = self.world.group(&plan.group).await
                && (group.route.active != plan.to || group.route.generation != generation)
            {
                return Event::RouteMoved { active: group.route.active, generation: group.route.generation };
            }
            tokio::time::sleep(self.deployment.config.probe.interval.get()).await;
        }
    }
}
