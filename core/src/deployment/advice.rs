//! The commands that a deployment recommends to the operator when it cannot continue.

use super::{Moved, Plan, State};
use crate::shell::quoted;

/// What a deployment has left in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InDatabase {
    /// Nothing, or it is not known to have migrated anything.
    Nothing,
    /// Migrations that can be reverted.
    Revertible,
    /// Migrations that nothing reverts.
    Stays,
}

impl Plan {
    /// What the deployment has left in the database in this state.
    pub fn in_database(&self, state: &State) -> InDatabase {
        match (state.migrated, self.revert) {
            (false, _) => InDatabase::Nothing,
            (true, true) => InDatabase::Revertible,
            (true, false) => InDatabase::Stays,
        }
    }

    /// The command line that runs a command of the deployment again. It does not show the command itself, which may contain
    /// secrets.
    pub(super) fn rerun(&self, command: &str) -> String {
        format!("cutover run {} {command}", quoted(&self.group))
    }

    pub(super) fn switch_to(&self, slot: &str) -> String {
        format!("cutover switch {} --to {}", quoted(&self.group), quoted(slot))
    }

    pub(super) fn deploy_again(&self) -> String {
        format!("cutover deploy {} --version VERSION", quoted(&self.group))
    }

    /// After somebody else moved the route: the commands that settle the route and undo what this deployment left.
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

    /// What a deployment that is over has left, with the command that undoes it. Empty if that is nothing, or if the new slot has
    /// the traffic.
    pub fn leaves(&self, state: &State, active: &str) -> String {
        let left = self.left_behind(state).filter(|_| active != self.to);
        let command = left.map(|command| self.rerun(command));
        command.map_or_else(String::new, |command| format!("; to undo what it has left, type: {command}"))
    }

    /// The next command that undoes what the deployment did: revert first, then teardown.
    fn left_behind(&self, state: &State) -> Option<&'static str> {
        if self.in_database(state) == InDatabase::Revertible {
            Some("revert")
        } else if state.provisioned && self.decommission {
            Some("teardown")
        } else {
            None
        }
    }
}
