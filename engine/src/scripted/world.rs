//! The world itself: a scene behind a lock.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::scene::Scene;

/// A world in memory. It starts with version 1 in blue, which has the traffic.
#[derive(Debug, Default)]
pub struct Scripted(Mutex<Scene>);

impl Scripted {
    /// A new world.
    pub fn new() -> Self {
        Self::default()
    }

    /// Locks the scene, to look at it and to change it.
    pub fn scene(&self) -> MutexGuard<'_, Scene> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
