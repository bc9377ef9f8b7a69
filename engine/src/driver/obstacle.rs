//! The check before each command that starts a slot, stops it or changes its database: a slot that has traffic is not touched.

use cutover_core::api::{Group, Traffic};
use cutover_core::deployment::{Moved, State};

use super::work::Work;
use crate::edge::moved;
use crate::journal::{Deployment, Journal};
use crate::world::World;

/// Why a slot must not be touched.
#[derive(Debug)]
pub(super) enum Obstacle {
    /// Requests of users go to the slot or to a slot with the same servers, or may at any moment.
    Routed(Moved),
    /// The slot, or a slot of another group with the same servers, holds unfinished requests.
    Held(Traffic),
}

impl<W: World, J: Journal> Work<W, J> {
    /// The obstacle to a command that starts or stops a slot. Fails if the edge cannot be read.
    pub(super) async fn obstacle(&self, slot: &str) -> Result<Option<Obstacle>, String> {
        let groups = self.all_groups(slot).await?;
        let group = self.of(&groups)?;
        let within = group.shared_within(slot).filter(|shared| shared.traffic.is_routed());
        match within {
            Some(shared) => Ok(Some(Obstacle::Routed(with_text(group, format!("slot \"{slot}\" {shared}"))))),
            None => self.unless_repaired(group, slot, obstacle(group, slot, &groups)).await,
        }
    }

    /// The obstacle to a command that changes the database. Fails if the edge cannot be read.
    pub(super) async fn obstacle_of_database(&self, slot: &str) -> Result<Option<Obstacle>, String> {
        let groups = self.all_groups(slot).await?;
        let group = self.of(&groups)?;
        self.unless_repaired(group, slot, obstacle(group, slot, &groups)).await
    }

    /// The obstacle, unless only a part of several edges sends traffic to the slot: they are about to be repaired, and the command
    /// is tried again.
    async fn unless_repaired(
        &self,
        group: &Group,
        slot: &str,
        found: Option<Obstacle>,
    ) -> Result<Option<Obstacle>, String> {
        let Some(routed) = group.route.routes_to(slot).filter(|_| self.fleet().is_several()) else {
            return Ok(found);
        };
        let view = self.look().await.map_err(|error| error.to_string())?;
        let stray = view.edges.iter().find(|(_, look)| look.route().routes_to(slot).is_some());
        let is_part = view.edges.values().any(|look| look.route().routes_to(slot).is_none());
        match stray.filter(|_| is_part) {
            Some((edge, _)) => Err(format!("slot \"{slot}\" {routed}, by edge \"{edge}\" alone")),
            None => Ok(found),
        }
    }

    /// Waits until the edge answers, and directs previews of the standby to the new slot.
    pub(super) async fn edge_answers(&self) -> Result<(), String> {
        let look = self.look_patiently().await.map_err(|error| error.to_string())?;
        self.stand_by(&look.group).await;
        Ok(())
    }

    /// All groups of all edges. An edge that this deployment leaves out sends nobody to the new slot before the others do, so it
    /// need not answer for that; it may still use the old one. Later it may have been repaired.
    async fn all_groups(&self, slot: &str) -> Result<Vec<Group>, String> {
        let Deployment { plan, policy, .. } = &*self.deployment;
        let state = self.journal.state(&self.deployment.id).await;
        let is_unused = slot == plan.to && matches!(state, Ok(Some(State { marks: None, .. })));
        let excluded: &[String] = if is_unused { &plan.excluded } else { &[] };
        let groups = self.world.fleet(&policy.edges).groups_without(excluded).await;
        groups.map_err(|error| error.to_string())
    }

    fn of<'a>(&self, groups: &'a [Group]) -> Result<&'a Group, String> {
        let name = &self.deployment.plan.group;
        let group = groups.iter().find(|group| group.name == *name);
        group.ok_or_else(|| format!("edge \"{}\" has no group \"{name}\"", self.fleet().name()))
    }

    /// Directs previews of the standby to the new slot. A failure is only logged.
    pub(super) async fn stand_by(&self, group: &Group) {
        let slot = &self.deployment.plan.to;
        if group.standby().is_some_and(|standby| standby.name == *slot)
            || group.has_traffic(slot).is_some_and(|traffic| traffic.is_routed())
        {
            return;
        }
        if let Err(error) = self.fleet().stand_by(&group.name, slot).await {
            tracing::warn!(deployment = self.deployment.id, %error, "failed to direct previews of the standby to this slot");
        }
    }
}

fn obstacle(group: &Group, slot: &str, groups: &[Group]) -> Option<Obstacle> {
    if let Some(routed) = group.route.routes_to(slot) {
        return Some(Obstacle::Routed(routed_to(group, slot, &routed)));
    }
    let shared = group.shared_with(slot, groups);
    if let Some(shared) = shared.as_ref().filter(|shared| shared.traffic.is_routed()) {
        return Some(Obstacle::Routed(with_text(group, format!("slot \"{slot}\" {shared}"))));
    }
    group.has_traffic(slot).or(shared.map(|shared| shared.traffic)).map(Obstacle::Held)
}

fn routed_to(group: &Group, slot: &str, routed: &Traffic) -> Moved {
    let moved = moved(group);
    match routed {
        Traffic::Active => moved,
        routed => Moved { text: format!("{moved}: slot \"{slot}\" {routed}"), ..moved },
    }
}

fn with_text(group: &Group, text: String) -> Moved {
    Moved { text, ..moved(group) }
}
