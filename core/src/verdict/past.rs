//! What a slot did in the last minutes, kept while nobody knows yet what it will be compared with.
//!
//! Evidence is kept in spans of equal length, so that the oldest can fall away. What another nginx has counted is added, and
//! nothing twice: see [`Fold`].

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::baseline::patience;
use super::evidence::Evidence;
use super::fold::Fold;
use super::reading::Reading;

/// How many spans the kept time has.
const SPANS: u32 = 60;

/// The last minutes of one slot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    folds: BTreeMap<String, Fold>,
    /// The oldest first.
    spans: VecDeque<Span>,
    /// The last reading.
    last: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Span {
    from: Duration,
    evidence: Evidence,
}

impl Past {
    /// Adds a reading, whose `new` is the slot. What happened before the first one does not count. Forgets what is older than
    /// `kept`.
    pub fn observe(&mut self, reading: &Reading, kept: Duration) {
        let at = reading.at;
        let patience = patience(&self.known().1);
        let mut more = Evidence::default();
        for edge in &reading.edges {
            if let Some(sample) = &edge.new {
                more.add(&self.folds.entry(edge.edge.clone()).or_default().observe(at, sample, patience));
            }
        }
        match self.spans.back_mut().filter(|span| at <= span.from + kept / SPANS) {
            Some(span) => span.evidence.add(&more),
            // It happened since the last reading.
            None => {
                let from = if self.spans.is_empty() { at } else { self.last };
                self.spans.push_back(Span { from, evidence: more });
            }
        }
        self.last = at;
        while self.spans.len() > 1 && self.spans.front().is_some_and(|span| span.from + kept < at) {
            self.spans.pop_front();
        }
        while self.spans.len() > SPANS as usize + 1 {
            self.spans.pop_front();
        }
    }

    /// What the slot did in the kept time, and how long that was.
    pub fn known(&self) -> (Duration, Evidence) {
        let mut all = Evidence::default();
        self.spans.iter().for_each(|span| all.add(&span.evidence));
        let begun = self.spans.front().map_or(self.last, |span| span.from);
        (self.last.saturating_sub(begun), all)
    }
}
