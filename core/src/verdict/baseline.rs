//! What the old slot did before the switch.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::evidence::Evidence;
use super::fold::Fold;
use super::reading::Reading;

/// How long a request may wait, at least and at most, when the old slot's own speed decides.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));

/// When nothing is known of the old slot.
const PATIENCE_ALONE: Duration = Duration::from_secs(10);

/// The old slot's figures, from readings before the switch: the last minutes say most.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    folds: BTreeMap<String, Fold>,
    evidence: Evidence,
}

impl Baseline {
    /// Adds a reading. What happened before the first one does not count.
    pub fn observe(&mut self, reading: &Reading) {
        let patience = patience(&self.evidence);
        for edge in &reading.edges {
            if let Some(sample) = &edge.old {
                let fold = self.folds.entry(edge.edge.clone()).or_default();
                self.evidence.add(&fold.observe(reading.at, sample, patience));
            }
        }
    }

    /// What was seen.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }
}

impl From<Evidence> for Baseline {
    fn from(evidence: Evidence) -> Self {
        Self { folds: BTreeMap::new(), evidence }
    }
}

/// How long a request may wait for its answer to begin: ten times the old slot's p99, within bounds.
pub(super) fn patience(old: &Evidence) -> Duration {
    let p99 = old.first_byte.quantile_us(0.99);
    p99.map_or(PATIENCE_ALONE, |us| {
        Duration::from_micros(us.saturating_mul(10)).clamp(PATIENCE.0, PATIENCE.1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::bucket_of;

    #[test]
    fn patience_follows_the_old_slot() {
        let with = |ms: u64| {
            let first_byte = [(bucket_of(ms * 1000), 100)].into_iter().collect();
            patience(&Evidence { first_byte, ..Evidence::default() })
        };
        assert_eq!(with(8), Duration::from_secs(2));
        assert!((9..=11).contains(&with(1_000).as_secs()));
        assert_eq!(with(60_000), Duration::from_secs(30));
        assert_eq!(patience(&Evidence::default()), PATIENCE_ALONE);
    }
}
