//! A route that was moved by somebody else or by the edge.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The state of a route in a form that the edge chooses: `generation 7`, a file's checksum, a resource's version.
///
/// Others only compare and show it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(String);

impl Revision {
    /// A revision from the text that the edge chose.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text that the edge chose.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The route after somebody else moved it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// One sentence for people.
    pub text: String,
    /// The active slot.
    pub active: String,
    /// Whether the active slot keeps all the traffic: there is no split and no trial.
    pub settled: bool,
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What has moved traffic back without a record of it. Of several edges, the last of these is the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TakenBackBy {
    /// This deployment itself has moved it, and the journal could not be written.
    Rollback,
    /// Nobody confirmed or renewed the change in time.
    Lease,
    /// Somebody has moved it on one edge of several.
    Hand,
    /// Too many requests failed or were slow.
    Guard,
}

impl fmt::Display for TakenBackBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Guard => "guard",
            Self::Lease => "lease",
            Self::Rollback => "rollback",
            Self::Hand => "operator",
        })
    }
}
