//! The world itself: a scene for each edge, behind locks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::scene::Scene;
use crate::fleet::Member;
use crate::world::World;

/// A world in memory. It starts with version 1 in blue, which has the traffic.
#[derive(Debug)]
pub struct Scripted {
    edges: Vec<Member<ScriptedEdge>>,
}

/// An edge of the world, and the hosts as this edge sees them.
#[derive(Clone, Debug)]
pub struct ScriptedEdge {
    pub(super) name: String,
    scene: Arc<Mutex<Scene>>,
}

impl Default for Scripted {
    fn default() -> Self {
        Self::of(&["nginx"])
    }
}

impl Scripted {
    /// A new world with one edge.
    pub fn new() -> Self {
        Self::default()
    }

    /// A new world with these edges.
    pub fn of(names: &[&str]) -> Self {
        let edge = |name: &&str| ScriptedEdge { name: (*name).to_owned(), scene: Arc::default() };
        Self { edges: names.iter().map(|name| Member::new(edge(name))).collect() }
    }

    /// Locks the scene of the first edge, to look at it and to change it. Servers, database and commands are there.
    pub fn scene(&self) -> MutexGuard<'_, Scene> {
        self.edges.first().expect("a world has an edge").edge().scene()
    }

    /// Locks the scene of an edge.
    pub fn scene_of(&self, edge: &str) -> MutexGuard<'_, Scene> {
        let member = self.edges.iter().find(|member| member.name() == edge);
        member.expect("the world has the edge").edge().scene()
    }

    /// Lets the other edges see the servers that run now.
    pub(super) fn share_servers(&self) {
        let running = self.scene().running.clone();
        for member in self.edges.iter().skip(1) {
            member.edge().scene().running.clone_from(&running);
        }
    }
}

impl ScriptedEdge {
    /// Locks its scene.
    pub fn scene(&self) -> MutexGuard<'_, Scene> {
        self.scene.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World for Scripted {
    type Edge = ScriptedEdge;

    fn edges(&self) -> &[Member<ScriptedEdge>] {
        &self.edges
    }
}
