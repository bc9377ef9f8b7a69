//! Moving the route, forward and back.
//!
//! A switch counts when nginx has said so. When its reply is lost the group is read: the route still has the generation that
//! was journaled (nothing has moved), or the next one and our slot (it was us), or something else (it was not us). A switch that
//! was only read, not confirmed, is asked for again at the generation that it has: that moves nothing, and nginx answers when
//! the route is on disk.
//!
//! Nor may a switch that was given up arrive later, when the rollback is over: every way back is a fence, which moves the
//! generation even if the route is on the old slot already.

use std::time::Duration;

use cutover_core::api::{Group, RouteChange};
use cutover_core::deployment::{Event, Marks, Now, Old, State, WayBack};

use super::Scene;
use crate::edge::{EdgeError, SwitchError};
use crate::metrics;
use crate::probe::Found;
use crate::world::World;

/// How long nginx may not answer before a step that needs it gives up: it may just be restarting.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(500);
/// Tries of one switch whose replies are lost.
const MOST_TRIES: u32 = 8;

/// Waits for an nginx that does not answer, for a while.
pub(super) struct Patience(tokio::time::Instant);

impl Patience {
    pub(super) fn begin() -> Self {
        Self(tokio::time::Instant::now())
    }

    /// A pause before nginx is asked again; the error once it has not answered for too long.
    pub(super) async fn pause(&self, error: EdgeError) -> Result<(), String> {
        if self.0.elapsed() >= PATIENCE {
            return Err(format!("nginx {error}"));
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }
}

impl<W: World> Scene<W> {
    /// Reads the group, again and again for a while if nginx does not answer.
    pub(super) async fn group_patiently(&self) -> Result<Group, String> {
        let patience = Patience::begin();
        loop {
            match self.world.group(&self.deployment.plan.group).await {
                Ok(group) => return Ok(group),
                Err(error) => patience.pause(error).await?,
            }
        }
    }

    /// What the switch will rest on.
    pub(super) async fn read_route(&self) -> Event {
        let plan = &self.deployment.plan;
        let group = match self.group_patiently().await {
            Ok(group) => group,
            Err(why) => return Event::NotSwitched(why),
        };
        let is_routed = group.route.routes_to(&plan.to).is_some();
        if group.route.active != plan.from || is_routed {
            return Event::RouteMoved(moved(&group));
        }
        let (Some(old), Some(new)) = (group.slot(&plan.from), group.slot(&plan.to)) else {
            let missing = if group.slot(&plan.to).is_none() { &plan.to } else { &plan.from };
            return Event::NotSwitched(format!("group \"{}\" has no slot \"{missing}\"", plan.group));
        };
        let served = old.counters.since(&plan.served);
        let Found { healthy, servers, .. } = match self.prober().look(&group, &plan.from, is_whole).await {
            Ok(found) => found,
            Err(why) => return Event::NotSwitched(why),
        };
        Event::RouteRead(Marks {
            generation: group.route.generation,
            switched: None,
            baseline: new.counters,
            old: Old { servers, healthy, served },
        })
    }

    /// The switch.
    pub(super) async fn switch(&self, state: &State) -> Event {
        let plan = &self.deployment.plan;
        let Marks { generation, .. } = state.marks.unwrap_or_default();
        let mut sent = false;
        let mut why = String::new();
        for _ in 0..MOST_TRIES {
            let group = match self.group_patiently().await {
                Ok(group) => group,
                Err(why) => return Event::SwitchUncertain(why),
            };
            let route = &group.route;
            let done = route.active == plan.to && route.generation == after(generation);
            let still = route.active == plan.from && route.generation == generation;
            if still {
                if let Err(why) = self.prober().verify(&group, &plan.to).await {
                    let why = format!("slot \"{}\" is not healthy any more: {why}", plan.to);
                    return if sent { Event::SwitchUncertain(why) } else { Event::NotSwitched(why) };
                }
            } else if !done {
                return Event::RouteMoved(moved(&group));
            }
            let expected = if done { route.generation } else { generation };
            match self.store(&plan.to, expected, false).await {
                Ok(group) if group.route.active == plan.to => {
                    if !done {
                        metrics::switched(&plan.group, "forward");
                    }
                    return Event::Switched { generation: group.route.generation };
                }
                Ok(group) => return Event::RouteMoved(moved(&group)),
                Err(SwitchError::Refused(why)) if still && !sent => {
                    return Event::NotSwitched(format!("nginx refuses the switch: {why}"));
                }
                Err(error) => {
                    sent |= !matches!(error, SwitchError::NotSent(_) | SwitchError::Moved(_));
                    why = error.to_string();
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        Event::SwitchUncertain(format!("the switch could not be confirmed: {why}"))
    }

    /// Whether traffic can go back.
    pub(super) async fn verify_old(&self, state: &State) -> Event {
        match self.way_back(state).await {
            Ok(_) => Event::OldHealthy,
            Err(event) => event,
        }
    }

    /// The switch back. The old slot is probed once more: the tries may be far apart.
    pub(super) async fn switch_back(&self, state: &State) -> Event {
        match self.way_back(state).await {
            Ok(group) => self.move_back(&group).await,
            Err(event) => event,
        }
    }

    /// The group, if its traffic is on the new slot and the old one is better; else the event that follows.
    async fn way_back(&self, state: &State) -> Result<Group, Event> {
        let plan = &self.deployment.plan;
        let group = self.read_group().await?;
        if group.route.active == plan.from {
            return Err(self.move_back(&group).await);
        }
        if group.route.active != plan.to {
            return Err(Event::RouteMoved(moved(&group)));
        }
        let marks = state.marks.unwrap_or_default();
        let Some(new) = group.slot(&plan.to) else { return Err(Event::RouteMoved(moved(&group))) };
        let prober = self.prober();
        let new_healthy = prober.found(new).await.healthy;
        // What an operator or an uncertain switch takes back is no verdict on the new version.
        let is_verdict = state.phase.cause().is_some_and(|cause| cause.kind.is_verdict());
        let since_switch = is_verdict.then(|| new.counters.since(&marks.baseline));
        let judged = |old: &Found, lately| {
            let (old_servers, old_healthy) = (old.servers, old.healthy);
            marks.old.way_back(&Now { old_servers, old_healthy, new_healthy, since_switch, lately })
        };
        let looked = prober.look(&group, &plan.from, |old| judged(old, None) != WayBack::Sick).await;
        let old = looked.map_err(Event::OldSick)?;
        let mut found = judged(&old, None);
        if found != WayBack::Open && is_verdict {
            // All that the new slot has done since the switch may be better than what it does now.
            tokio::time::sleep(self.deployment.config.soak.interval.get()).await;
            let again = self.read_group().await?;
            let lately = again.slot(&plan.to).map(|now| now.counters.since(&new.counters));
            found = judged(&old, lately);
        }
        match found {
            WayBack::Open => Ok(group),
            WayBack::Sick => Err(Event::OldSick(old.why)),
            WayBack::Worse(why) => Err(Event::OldWorse(why)),
        }
    }

    async fn read_group(&self) -> Result<Group, Event> {
        let group = self.world.group(&self.deployment.plan.group).await;
        group.map_err(|error| Event::StepFailed(format!("nginx {error}")))
    }

    async fn move_back(&self, seen: &Group) -> Event {
        let plan = &self.deployment.plan;
        match self.store(&plan.from, seen.route.generation, true).await {
            Ok(group) if group.route.active == plan.from => {
                if seen.route.active != plan.from {
                    metrics::switched(&plan.group, "back");
                }
                Event::SwitchedBack
            }
            Ok(group) => Event::RouteMoved(moved(&group)),
            Err(error) => Event::StepFailed(error.to_string()),
        }
    }

    async fn store(&self, to: &str, expected: u32, fence: bool) -> Result<Group, SwitchError> {
        let what = if fence { "rollback" } else { "deployment" };
        let reason = format!("{what} {} of version \"{}\"", self.deployment.id, self.deployment.version);
        let change = RouteChange::to(to, reason).fenced(fence);
        self.world.switch(&self.deployment.plan.group, &change, expected).await
    }
}

/// Said of a route that is not where this deployment has left it.
pub(super) fn moved(group: &Group) -> String {
    format!("somebody else moved the route of group \"{}\": {}", group.name, group.route)
}

/// Whether all servers of a slot are healthy.
fn is_whole(found: &Found) -> bool {
    found.healthy == found.servers
}

/// As the module counts on: zero means never switched.
fn after(generation: u32) -> u32 {
    match generation.wrapping_add(1) {
        0 => 1,
        next => next,
    }
}
