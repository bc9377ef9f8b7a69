//! The outside world of a deployment.

use crate::commands::Commands;
use crate::databases::Databases;
use crate::edge::Edge;
use crate::fleet::{Fleet, Member};
use crate::peers::Peers;
use crate::signals::Signals;

/// The edges, peers, commands, databases and signals in one type.
pub trait World: Peers + Commands + Databases + Signals {
    /// The kind of its edges.
    type Edge: Edge;

    /// All edges.
    fn edges(&self) -> &[Member<Self::Edge>];

    /// The edges of these names, or all if there is no name.
    fn fleet(&self, names: &[String]) -> Fleet<'_, Self::Edge> {
        Fleet::new(self.edges(), names)
    }
}
