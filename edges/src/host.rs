//! Any edge on a host.

use std::time::Duration;

use cutover_core::api::Group;
use cutover_core::deployment::Revision;
use cutover_engine::edge::{Abilities, Edge, EdgeError, Look, Shift, ShiftError};

use crate::file::FileEdge;
use crate::module::Module;

/// An edge on a host.
#[derive(Clone, Debug)]
pub enum HostEdge {
    /// nginx with Cutover's module.
    Module(Module),
    /// Stock nginx.
    File(FileEdge),
}

impl HostEdge {
    /// Checks that the edge has what it needs for a change, before a deployment begins.
    pub async fn check_access(&self) -> Result<(), EdgeError> {
        match self {
            Self::Module(module) => module.check_credentials().await,
            // A change tells what is missing, and changes nothing then.
            Self::File(_) => Ok(()),
        }
    }
}

/// Calls the same method of the edge inside.
macro_rules! inside {
    ($self:ident, $edge:ident => $call:expr) => {
        match $self {
            HostEdge::Module($edge) => $call,
            HostEdge::File($edge) => $call,
        }
    };
}

impl Edge for HostEdge {
    fn name(&self) -> &str {
        inside!(self, edge => edge.name())
    }

    fn abilities(&self) -> Abilities {
        inside!(self, edge => edge.abilities())
    }

    async fn groups(&self) -> Result<Vec<Group>, EdgeError> {
        inside!(self, edge => edge.groups().await)
    }

    async fn look(&self, group: &str) -> Result<Look, EdgeError> {
        inside!(self, edge => edge.look(group).await)
    }

    async fn stand_by(&self, group: &str, slot: &str) -> Result<(), EdgeError> {
        inside!(self, edge => edge.stand_by(group, slot).await)
    }

    async fn shift(&self, group: &str, shift: &Shift, expected: &Revision) -> Result<Look, ShiftError> {
        inside!(self, edge => edge.shift(group, shift, expected).await)
    }

    async fn renew(&self, group: &str, lease: Duration, expected: &Revision) -> Result<Look, ShiftError> {
        inside!(self, edge => edge.renew(group, lease, expected).await)
    }

    async fn confirm(&self, group: &str, reason: &str, expected: &Revision) -> Result<Look, ShiftError> {
        inside!(self, edge => edge.confirm(group, reason, expected).await)
    }
}
