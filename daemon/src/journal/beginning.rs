//! The beginning of a deployment.

use cutover_core::deployment::State;
use cutover_engine::journal::Deployment;

use super::Superseded;

/// A new deployment and its first record, and the end of the one before it.
#[derive(Clone, Debug)]
pub struct Beginning {
    /// The end of the group's last deployment, if that only watches or stops a slot.
    pub superseded: Option<Superseded>,
    /// The deployment.
    pub deployment: Deployment,
    /// Its first state.
    pub state: State,
    /// The message of its first record.
    pub message: String,
}

impl Beginning {
    /// The beginning of one deployment.
    pub fn new(superseded: Option<Superseded>, deployment: Deployment, state: &State, message: &str) -> Self {
        Self { superseded, deployment, state: state.clone(), message: message.to_owned() }
    }
}
