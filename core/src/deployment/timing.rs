//! When the work of a phase ends, for people who wait for it.

use std::time::Duration;

use super::{Phase, Plan, RollbackStep, State, Time};

/// The time of a phase that has an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// It ends then, at the latest. A soak without a verdict may go on for a while.
    pub until: Time,
    /// How long it takes in all.
    pub takes: Duration,
}

impl Plan {
    /// The time of the current phase. `None`: it ends when its work is done, or an operator says so.
    pub fn timing(&self, state: &State) -> Option<Timing> {
        let (until, takes) = match &state.phase {
            Phase::Probing { until } => (*until, self.probe_deadline),
            Phase::Soaking { until } if state.paused.is_none() => ((*until)?, self.time_of(state.step)?),
            Phase::Draining { until } | Phase::RollingBack { step: RollbackStep::Drain { until }, .. } => {
                (*until, self.drain)
            }
            Phase::Warm { until } => (*until, self.warm),
            Phase::RollingBack { step: RollbackStep::Watch { until }, .. } => (*until, self.soak),
            _ => return None,
        };
        Some(Timing { until, takes })
    }
}
