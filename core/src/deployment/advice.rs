//! What an operator is told to type when a deployment cannot go on.

use super::{Moved, Plan, State};
use crate::shell::quoted;

impl Plan {
    /// Runs a command of the deployment again. The command's own words stay in the configuration: they may hold secrets.
    pub(super) fn rerun(&self, command: &str) -> String {
        format!("cutover run {} {command}", quoted(&self.group))
    }

    pub(super) fn switch_to(&self, slot: &str) -> String {
        format!("cutover switch {} --to {}", quoted(&self.group), quoted(slot))
    }

    pub(super) fn deploy_again(&self) -> String {
        format!("cutover deploy {} --version VERSION", quoted(&self.group))
    }

    /// What settles a route that somebody else moved, and then what this deployment has left behind.
    pub(super) fn after_move(&self, state: &State, moved: &Moved) -> String {
        let is_on_new = moved.active == self.to;
        let settle = match (moved.settled, is_on_new) {
            (true, true) => Some(self.switch_to(&self.from)),
            (true, false) => None,
            (false, _) => Some(self.switch_to(&moved.active)),
        };
        let left = self.left_behind(state).filter(|_| !is_on_new).map(|command| self.rerun(command));
        match (settle, left) {
            (Some(settle), Some(left)) => format!("{settle}; then: {left}"),
            (Some(command), None) | (None, Some(command)) => command,
            (None, None) => self.deploy_again(),
        }
    }

    /// The command that undoes the first of what the deployment did and has not undone.
    fn left_behind(&self, state: &State) -> Option<&'static str> {
        if state.migrated && self.revert {
            Some("revert")
        } else if state.provisioned && self.decommission {
            Some("teardown")
        } else {
            None
        }
    }
}
