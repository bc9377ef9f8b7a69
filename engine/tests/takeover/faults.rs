//! How many faults of each kind may happen in one run.

use std::fmt;

/// Faults, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Faults {
    /// Replies that are lost, though the edge can be reached. The change arrives later, or never.
    pub(crate) lost: u8,
    /// Changes that arrive twice.
    pub(crate) doubled: u8,
    /// Edges that are cut off for a time.
    pub(crate) cut: u8,
    /// Processes that end.
    pub(crate) crashes: u8,
    /// Processes that stop for a time.
    pub(crate) pauses: u8,
    /// Leases of a leader that run out while it works.
    pub(crate) lapses: u8,
    /// Versions that turn bad.
    pub(crate) sick: u8,
    /// Rounds of renewals, which are no fault but can come late.
    pub(crate) renewals: u8,
}

impl Faults {
    /// Whether an edge may not answer in time.
    pub(crate) fn disturbs_an_edge(self) -> bool {
        self.lost > 0 || self.cut > 0
    }

    /// How often another driver may go on.
    pub(crate) fn takeovers(self) -> u8 {
        self.crashes + self.pauses + self.lapses
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = [
            (self.lost, "a reply is lost"),
            (self.doubled, "a change arrives twice"),
            (self.cut, "an edge is cut off"),
            (self.crashes, "a daemon crashes"),
            (self.pauses, "a daemon is paused"),
            (self.lapses, "a leader loses its lease"),
            (self.sick, "the new version turns bad"),
            (self.renewals, "leases are renewed"),
        ];
        let there: Vec<&str> = named.iter().filter(|(count, _)| *count > 0).map(|(_, name)| *name).collect();
        if there.is_empty() { f.write_str("none") } else { f.write_str(&there.join(", ")) }
    }
}
