//! The end of a deployment that another one supersedes.

use cutover_core::deployment::{Event, State, Time};
use cutover_engine::driver;

use super::Entry;

/// The last record of a superseded deployment.
#[derive(Clone, Debug)]
pub struct Superseded {
    pub(super) id: String,
    pub(super) at: Time,
    pub(super) before: State,
    pub(super) after: State,
    pub(super) message: String,
}

impl Superseded {
    /// The last record of a deployment that only watches or stops a slot. `None` if it does other work.
    pub fn of(entry: &Entry, at: Time) -> Option<Self> {
        let deployment = &entry.deployment;
        let before = entry.state.clone();
        let after = deployment.plan.step(&before, Event::TakeOver, at).ok()?;
        let message = driver::superseded_message(deployment, &after);
        Some(Self { id: deployment.id.clone(), at, before, after, message })
    }

    /// The last state of this deployment. `None` if it is another one.
    pub fn end_of(&self, id: &str) -> Option<&State> {
        (self.id == id).then_some(&self.after)
    }
}
