//! Slots with random answers, as counters on one edge.

use std::time::Duration;

use cutover_core::latency::bucket_of;
use cutover_core::verdict::{Baseline, EdgeReading, Limits, Names, Reading, Sample, Watch};

use crate::random::Random;

/// What a slot does with a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Behaviour {
    pub(crate) errors: f64,
    pub(crate) client_errors: f64,
    pub(crate) aborted: f64,
    pub(crate) failed_attempts: f64,
    /// Median of the log-normal time to the first byte.
    pub(crate) median_ms: f64,
}

/// The spread of the logarithm of latencies.
pub(crate) const SIGMA: f64 = 0.8;

impl Behaviour {
    pub(crate) fn good() -> Self {
        Self { errors: 0.0, client_errors: 0.0, aborted: 0.0, failed_attempts: 0.0, median_ms: 100.0 }
    }

    /// Adds so many requests to the counters of a slot.
    pub(crate) fn answer(&self, random: &mut Random, slot: &mut Sample, requests: u64) {
        for _ in 0..requests {
            let counters = &mut slot.counters;
            counters.requests += 1;
            counters.attempts += 1;
            if random.chance(self.failed_attempts) {
                counters.attempts += 1;
                counters.attempts_failed += 1;
                slot.failures.connect += 1;
            }
            let kind = random.uniform();
            if kind < self.aborted {
                counters.responses.aborted += 1;
                continue;
            } else if kind < self.aborted + self.errors {
                counters.responses.server_error += 1;
            } else if kind < self.aborted + self.errors + self.client_errors {
                counters.responses.client_error += 1;
            } else {
                counters.responses.success += 1;
            }
            let us = 1000.0 * self.median_ms * (SIGMA * random.normal()).exp();
            slot.first_byte.insert(bucket_of(us as u64), 1);
            slot.whole.insert(bucket_of((1.1 * us) as u64), 1);
        }
    }
}

/// Two slots and their watch.
pub(crate) struct Soak {
    pub(crate) watch: Watch,
    pub(crate) new: Sample,
    pub(crate) old: Sample,
    pub(crate) seconds: f64,
}

impl Soak {
    /// After the old slot has answered so many requests.
    pub(crate) fn new(limits: Limits, random: &mut Random, old: &Behaviour, before: u64) -> Self {
        let mut baseline = Baseline::default();
        let mut sample = Sample::default();
        baseline.observe(&reading(0.0, false, &Sample::default(), &sample));
        old.answer(random, &mut sample, before);
        baseline.observe(&reading(60.0, false, &Sample::default(), &sample));
        let names = Names { new: "green".to_owned(), old: "blue".to_owned() };
        let mut watch = Watch::new(limits, names, baseline);
        watch.observe(&reading(0.0, false, &Sample::default(), &sample));
        Self { watch, new: Sample::default(), old: sample, seconds: 0.0 }
    }

    /// Reads the counters; says whether the version is bad.
    pub(crate) fn look(&mut self, seconds: f64, split: bool) -> bool {
        self.seconds += seconds;
        self.watch.observe(&reading(self.seconds, split, &self.new, &self.old));
        self.watch.now().is_some()
    }
}

fn reading(seconds: f64, split: bool, new: &Sample, old: &Sample) -> Reading {
    let edge = EdgeReading { edge: "edge1".to_owned(), new: Some(new.clone()), old: Some(old.clone()) };
    Reading { at: Duration::from_secs_f64(seconds), split, edges: vec![edge] }
}
