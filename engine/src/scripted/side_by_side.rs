//! Several groups behind one edge: a world for each, side by side. Each group has its own servers, commands and database.

use std::time::Duration;

use cutover_core::api::Group;
use cutover_core::deployment::{Plan, Revision};

use super::usual::{deployment, peer};
use super::world::{Scripted, ScriptedEdge};
use crate::commands::{Commands, Failed, Job};
use crate::edge::{Abilities, Edge, EdgeError, Look, Shift, ShiftError};
use crate::fleet::Member;
use crate::journal::Deployment;
use crate::peers::{Call, CheckError, Peers, Reply};
use crate::policy::Signal;
use crate::signals::Signals;
use crate::world::World;

/// Groups `shop` and `api` of one edge.
#[derive(Debug)]
pub struct SideBySide {
    worlds: Vec<(String, Scripted)>,
    edges: Vec<Member<EdgeOfAll>>,
}

/// The edge of all groups.
#[derive(Debug)]
pub struct EdgeOfAll {
    groups: Vec<(String, ScriptedEdge)>,
}

impl Default for SideBySide {
    fn default() -> Self {
        let worlds: Vec<(String, Scripted)> =
            ["shop", "api"].map(|group| (group.to_owned(), Scripted::new())).into();
        let slots = [("blue", 11), ("green", 12)].map(|(slot, port)| (slot.to_owned(), vec![peer(port)]));
        if let Some((_, api)) = worlds.last() {
            api.scene().slots = slots.into();
        }
        let groups = worlds
            .iter()
            .map(|(group, world)| (group.clone(), world.edges().first().expect("one edge").edge().clone()));
        let edges = vec![Member::new(EdgeOfAll { groups: groups.collect() })];
        Self { worlds, edges }
    }
}

impl SideBySide {
    /// The world of a group.
    pub fn of(&self, group: &str) -> &Scripted {
        let world = self.worlds.iter().find(|(name, _)| name == group);
        world.map(|(_, world)| world).expect("a group of the world")
    }

    /// Deployments `shop-1` and `api-1` of version 2, which move together.
    pub fn deployments() -> [Deployment; 2] {
        let of = |group: &str, other: &str| {
            let usual = deployment();
            let plan = Plan {
                group: group.to_owned(),
                with: vec![cutover_core::deployment::Companion {
                    group: other.to_owned(),
                    deployment: format!("{other}-1"),
                }],
                ..usual.plan
            };
            Deployment { id: format!("{group}-1"), plan, ..usual }
        };
        [of("shop", "api"), of("api", "shop")]
    }
}

impl World for SideBySide {
    type Edge = EdgeOfAll;

    fn edges(&self) -> &[Member<EdgeOfAll>] {
        &self.edges
    }
}

impl Commands for SideBySide {
    async fn run(&self, job: &Job) -> Result<(), Failed> {
        let group = job.environment.get("CUTOVER_GROUP").expect("the group of the command");
        self.of(group).run(job).await
    }

    async fn end(&self, _: &str) -> Result<(), String> {
        Ok(())
    }
}

impl Signals for SideBySide {
    /// The queries do not name a group, so all of them are for the shop.
    async fn value(&self, signal: &Signal, query: &str, ago: Duration) -> Result<Option<f64>, String> {
        self.of("shop").value(signal, query, ago).await
    }
}

impl Peers for SideBySide {
    async fn check(&self, address: &str, call: Call, limit: Duration) -> Result<Reply, CheckError> {
        let has = |world: &Scripted| {
            let scene = world.scene();
            scene.slots.iter().any(|(_, peers)| peers.iter().any(|peer| peer.address == address))
        };
        let world = self.worlds.iter().map(|(_, world)| world).find(|world| has(world));
        world.expect("a server of the world").check(address, call, limit).await
    }
}

impl EdgeOfAll {
    fn of(&self, group: &str) -> &ScriptedEdge {
        let edge = self.groups.iter().find(|(name, _)| name == group);
        edge.map(|(_, edge)| edge).expect("a group of the edge")
    }
}

fn named(group: &str, mut look: Look) -> Look {
    for slot in &mut look.group.slots {
        slot.upstream = format!("{group}_{}", slot.name);
    }
    group.clone_into(&mut look.group.name);
    look
}

fn named_too(group: &str, answer: Result<Look, ShiftError>) -> Result<Look, ShiftError> {
    match answer {
        Ok(look) => Ok(named(group, look)),
        Err(ShiftError::Moved(look)) => Err(ShiftError::Moved(Box::new(named(group, *look)))),
        Err(error) => Err(error),
    }
}

impl Edge for EdgeOfAll {
    fn name(&self) -> &str {
        "nginx"
    }

    fn abilities(&self) -> Abilities {
        self.of("shop").abilities()
    }

    async fn groups(&self) -> Result<Vec<Group>, EdgeError> {
        let mut groups = Vec::new();
        for (group, edge) in &self.groups {
            groups.push(named(group, edge.look(group).await?).group);
        }
        Ok(groups)
    }

    async fn look(&self, group: &str) -> Result<Look, EdgeError> {
        Ok(named(group, self.of(group).look(group).await?))
    }

    async fn stand_by(&self, group: &str, slot: &str) -> Result<(), EdgeError> {
        self.of(group).stand_by(group, slot).await
    }

    async fn shift(&self, group: &str, shift: &Shift, expected: &Revision) -> Result<Look, ShiftError> {
        named_too(group, self.of(group).shift(group, shift, expected).await)
    }

    async fn renew(&self, group: &str, lease: Duration, expected: &Revision) -> Result<Look, ShiftError> {
        named_too(group, self.of(group).renew(group, lease, expected).await)
    }

    async fn confirm(&self, group: &str, reason: &str, expected: &Revision) -> Result<Look, ShiftError> {
        named_too(group, self.of(group).confirm(group, reason, expected).await)
    }
}
