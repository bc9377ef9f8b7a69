//! The outside world of a deployment.

use crate::commands::Commands;
use crate::edge::Edge;
use crate::peers::Peers;

/// An edge, peers and commands in one type.
pub trait World: Edge + Peers + Commands {}

impl<T: Edge + Peers + Commands> World for T {}
