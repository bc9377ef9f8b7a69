//! All that a deployment does to what is outside.

use crate::commands::Commands;
use crate::edge::Edge;
use crate::peers::Peers;

/// An edge, servers and commands in one.
pub trait World: Edge + Peers + Commands {}

impl<T: Edge + Peers + Commands> World for T {}
