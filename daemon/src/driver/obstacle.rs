//! Whatever has traffic is not touched: nginx is asked before each command that starts a slot anew, stops it, or changes the
//! database under it.

use cutover_core::api::{Group, Groups, Traffic};

use super::Scene;
use super::switching::{Patience, moved};
use crate::world::World;

/// What stands in the way of touching a slot.
#[derive(Debug)]
pub(super) enum Obstacle {
    /// Users' requests go there, or to a slot of another group with the same servers, or may at any moment: one sentence.
    Routed(String),
    /// Requests that have not ended.
    Held(Traffic),
}

impl<W: World> Scene<W> {
    /// What stands in the way now; an error when nginx cannot be asked.
    pub(super) async fn obstacle(&self, slot: &str) -> Result<Option<Obstacle>, String> {
        let groups = self.world.groups().await.map_err(|error| format!("nginx {error}"))?;
        self.obstacle_in(&groups, slot)
    }

    /// The same when nginx may take a while to answer.
    pub(super) async fn obstacle_patiently(&self, slot: &str) -> Result<Option<Obstacle>, String> {
        let patience = Patience::begin();
        loop {
            match self.world.groups().await {
                Ok(groups) => {
                    if let Some(group) = groups.groups.iter().find(|group| self.is_of(group)) {
                        self.stand_by(group).await;
                    }
                    return self.obstacle_in(&groups, slot);
                }
                Err(error) => patience.pause(error).await?,
            }
        }
    }

    fn obstacle_in(&self, groups: &Groups, slot: &str) -> Result<Option<Obstacle>, String> {
        let group = groups.groups.iter().find(|group| self.is_of(group));
        let group = group.ok_or_else(|| format!("nginx has no group \"{}\"", self.deployment.plan.group))?;
        if let Some(routed) = group.route.routes_to(slot) {
            return Ok(Some(Obstacle::Routed(sentence(group, slot, &routed))));
        }
        if let Some(shared) = group.shared_with(slot, &groups.groups) {
            return Ok(Some(Obstacle::Routed(format!("slot \"{slot}\" {shared}"))));
        }
        Ok(group.has_traffic(slot).map(Obstacle::Held))
    }
}

impl<W: World> Scene<W> {
    fn is_of(&self, group: &Group) -> bool {
        group.name == self.deployment.plan.group
    }

    /// A preview of the standby shall reach the slot of this deployment. If it does not, that is no reason to stop.
    pub(super) async fn stand_by(&self, group: &Group) {
        let slot = &self.deployment.plan.to;
        if group.standby().is_some_and(|standby| standby.name == *slot)
            || group.has_traffic(slot).is_some_and(|traffic| traffic.is_routed())
        {
            return;
        }
        if let Err(error) = self.world.stand_by(&group.name, slot).await {
            tracing::warn!(deployment = self.deployment.id, %error, "previews of the standby reach another slot");
        }
    }
}

fn sentence(group: &Group, slot: &str, routed: &Traffic) -> String {
    match routed {
        Traffic::Active => moved(group),
        routed => format!("{}: slot \"{slot}\" {routed}", moved(group)),
    }
}
