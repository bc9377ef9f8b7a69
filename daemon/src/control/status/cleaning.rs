//! What is being cleaned up: the commands that stop slots on which nothing depends any more.

use cutover_core::deployment::Part;
use cutover_engine::world::World;
use serde::{Deserialize, Serialize};

use crate::control::Control;
use crate::journal::Entry;

/// A command that stops a slot, or does other work on one after its deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CleanUp {
    /// The slot.
    pub slot: String,
    /// The command, as in `decommission`.
    pub command: String,
    /// The version in the slot; empty: unknown.
    pub version: String,
}

impl<W: World> Control<W> {
    /// The commands that run now: that of the last deployment, and those of deployments before it.
    pub(super) fn cleaning_up(&self, group: &str, last: Option<&Entry>) -> Vec<CleanUp> {
        let own = last.and_then(|entry| {
            let plan = &entry.deployment.plan;
            let (command, version) = match plan.cleans_up(&entry.state)? {
                Part::Old => ("decommission", &entry.deployment.previous),
                Part::New => ("teardown", &entry.deployment.version),
            };
            let slot = plan.slot(plan.cleans_up(&entry.state)?).to_owned();
            Some(CleanUp { slot, command: command.to_owned(), version: version.clone() })
        });
        let others = self.slots_of_reruns(group).into_iter().map(|(slot, command)| CleanUp {
            slot,
            command: command.to_owned(),
            version: String::new(),
        });
        own.into_iter().chain(others).collect()
    }
}
