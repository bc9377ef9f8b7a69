//! An edge that this daemon changes only while it certainly leads.
//!
//! The expected revision of a change was read before that check. So it was read before the lease of this daemon could run out, and
//! before the next leader fences the route. A change that arrives after that fails.

use std::time::Duration;

use cutover_core::api::Group;
use cutover_core::deployment::Revision;
use cutover_engine::edge::{Abilities, Edge, EdgeError, Look, Shift, ShiftError};

use crate::journal::Store;

/// An edge, and the journal that knows who leads.
#[derive(Debug)]
pub struct Led<E> {
    edge: E,
    journal: Store,
}

impl<E> Led<E> {
    /// The edge, changed only while `journal` says that this daemon leads.
    pub fn new(edge: E, journal: Store) -> Self {
        Self { edge, journal }
    }

    fn leading(&self) -> Result<(), EdgeError> {
        if self.journal.leads() {
            return Ok(());
        }
        let why = "its lease in etcd may have run out, so another daemon may lead".to_owned();
        Err(EdgeError::Refused { subject: "this daemon", why })
    }
}

impl<E: Edge> Edge for Led<E> {
    fn name(&self) -> &str {
        self.edge.name()
    }

    fn abilities(&self) -> Abilities {
        self.edge.abilities()
    }

    async fn groups(&self) -> Result<Vec<Group>, EdgeError> {
        self.edge.groups().await
    }

    async fn look(&self, group: &str) -> Result<Look, EdgeError> {
        self.edge.look(group).await
    }

    async fn stand_by(&self, group: &str, slot: &str) -> Result<(), EdgeError> {
        self.leading()?;
        self.edge.stand_by(group, slot).await
    }

    async fn shift(&self, group: &str, shift: &Shift, expected: &Revision) -> Result<Look, ShiftError> {
        self.leading().map_err(ShiftError::NotSent)?;
        self.edge.shift(group, shift, expected).await
    }

    async fn renew(&self, group: &str, lease: Duration, expected: &Revision) -> Result<Look, ShiftError> {
        self.leading().map_err(ShiftError::NotSent)?;
        self.edge.renew(group, lease, expected).await
    }

    async fn confirm(&self, group: &str, reason: &str, expected: &Revision) -> Result<Look, ShiftError> {
        self.leading().map_err(ShiftError::NotSent)?;
        self.edge.confirm(group, reason, expected).await
    }
}
