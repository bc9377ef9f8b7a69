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
                Ok(groups) => return self.obstacle_in(&groups, slot),
                Err(error) => patience.pause(error).await?,
            }
        }
    }

    fn obstacle_in(&self, groups: &Groups, slot: &str) -> Result<Option<Obstacle>, String> {
        let name = &self.deployment.plan.group;
        let group = groups.groups.iter().find(|group| group.name == *name);
        let group = group.ok_or_else(|| format!("nginx has no group \"{name}\""))?;
        if let Some(routed) = group.route.routes_to(slot) {
            return Ok(Some(Obstacle::Routed(sentence(group, slot, &routed))));
        }
        if let Some(shared) = group.shared_with(slot, &groups.groups) {
            return Ok(Some(Obstacle::Routed(format!("slot \"{slot}\" {shared}"))));
        }
        Ok(group.has_traffic(slot).map(Obstacle::Held))
    }
}

fn sentence(group: &Group, slot: &str, routed: &Traffic) -> String {
    match routed {
        Traffic::Active => moved(group),
        routed => format!("{}: slot \"{slot}\" {routed}", moved(group)),
    }
}
