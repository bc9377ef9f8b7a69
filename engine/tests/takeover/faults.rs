//! How many faults of each kind may happen in one run.

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
