//! How much the benchmarks measure.

/// Full or quick measurements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    quick: bool,
}

impl Effort {
    /// `quick`: few and short runs.
    pub(crate) fn new(quick: bool) -> Self {
        Self { quick }
    }

    /// One of two amounts.
    pub(crate) fn pick<T>(self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}
