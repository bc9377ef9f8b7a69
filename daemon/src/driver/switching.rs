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
use cutover_core::deployment::Event;
use cutover_core::probe::Quorum;

use super::Scene;
use crate::edge::SwitchError;
use crate::metrics;
use crate::world::World;

/// How long nginx may not answer before a step that needs it gives up: it may just be restarting.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(500);
/// Tries of one switch whose replies are lost.
const MOST_TRIES: u32 = 8;

impl<W: World> Scene<W> {
    /// Reads the group, again and again for a while if nginx does not answer.
    pub(super) async fn group_patiently(&self) -> Result<Group, String> {
        let begin = tokio::time::Instant::now();
        loop {
            match self.world.group(&self.deployment.plan.group).await {
                Ok(group) => return Ok(group),
                Err(error) if begin.elapsed() >= PATIENCE => return Err(format!("nginx {error}")),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// What the switch will rest on.
    pub(super) async fn read_route(&self) -> Event {
        let plan = &self.deployment.plan;
        match self.group_patiently().await {
            Ok(group) if group.route.active != plan.from => moved(&group),
            Ok(group) => match group.slot(&plan.to) {
                Some(slot) => {
                    Event::RouteRead { generation: group.route.generation, baseline: slot.counters }
                }
                None => Event::NotSwitched(format!("group \"{}\" has no slot \"{}\"", plan.group, plan.to)),
            },
            Err(why) => Event::NotSwitched(why),
        }
    }

    /// The switch.
    pub(super) async fn switch(&self, generation: u32) -> Event {
        let plan = &self.deployment.plan;
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
                if let Err(why) = self.prober().verify(&group, &plan.to, Quorum::All).await {
                    let why = format!("slot \"{}\" is not healthy any more: {why}", plan.to);
                    return if sent { Event::SwitchUncertain(why) } else { Event::NotSwitched(why) };
                }
            } else if !done {
                return moved(&group);
            }
            let expected = if done { route.generation } else { generation };
            match self.store(&plan.to, expected, false).await {
                Ok(group) if group.route.active == plan.to => {
                    if !done {
                        metrics::switched(&plan.group, "forward");
                    }
                    return Event::Switched { generation: group.route.generation };
                }
                Ok(group) => return moved(&group),
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
    pub(super) async fn verify_old(&self) -> Event {
        let plan = &self.deployment.plan;
        let group = match self.world.group(&plan.group).await {
            Ok(group) => group,
            Err(error) => return Event::StepFailed(format!("nginx {error}")),
        };
        if group.route.active == plan.from {
            return self.move_back(&group).await;
        }
        if group.route.active != plan.to {
            return moved(&group);
        }
        match self.prober().verify(&group, &plan.from, Quorum::Majority).await {
            Ok(()) => Event::OldHealthy,
            Err(why) => Event::OldSick(why),
        }
    }

    /// The switch back. The old slot is probed once more: the tries may be far apart.
    pub(super) async fn switch_back(&self) -> Event {
        let plan = &self.deployment.plan;
        let group = match self.world.group(&plan.group).await {
            Ok(group) => group,
            Err(error) => return Event::StepFailed(format!("nginx {error}")),
        };
        if group.route.active == plan.from {
            return self.move_back(&group).await;
        }
        if group.route.active != plan.to {
            return moved(&group);
        }
        match self.prober().verify(&group, &plan.from, Quorum::Majority).await {
            Ok(()) => self.move_back(&group).await,
            Err(why) => Event::OldSick(why),
        }
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
            Ok(group) => moved(&group),
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

fn moved(group: &Group) -> Event {
    Event::RouteMoved { active: group.route.active.clone(), generation: group.route.generation }
}

/// As the module counts on: zero means never switched.
fn after(generation: u32) -> u32 {
    match generation.wrapping_add(1) {
        0 => 1,
        next => next,
    }
}
