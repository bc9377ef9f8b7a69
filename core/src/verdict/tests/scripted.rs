//! Two slots on one edge, as counters: each second says what happened.

use std::time::Duration;

use crate::counters::{Counters, Responses};
use crate::latency::bucket_of;
use crate::verdict::{Baseline, EdgeReading, Limits, Names, Reading, Sample, Verdict, Watch};

/// What a slot does with the requests of one second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Second {
    pub(super) ok: u64,
    pub(super) redirect: u64,
    pub(super) not_found: u64,
    pub(super) error: u64,
    pub(super) hang: u64,
    pub(super) give_up: u64,
    /// Upgraded connections that open.
    pub(super) upgrade: u64,
    /// Milliseconds until the first byte; 0 is 5.
    pub(super) ms: u64,
}

pub(super) fn ok(ok: u64) -> Second {
    Second { ok, ..Second::default() }
}

/// Adds a second to the counters of a slot.
pub(super) fn pass(slot: &mut Sample, second: Second) {
    let Second { ok, redirect, not_found, error, hang, give_up, upgrade, ms } = second;
    let answered = ok + redirect + not_found + error;
    let all = answered + hang + give_up + upgrade;
    let Counters { requests, attempts, responses, in_flight, .. } = &mut slot.counters;
    let Responses { success, redirection, client_error, server_error, aborted, .. } = responses;
    *requests += all;
    *attempts += all;
    *success += ok;
    *redirection += redirect;
    *client_error += not_found;
    *server_error += error;
    *aborted += give_up;
    *in_flight += hang + upgrade;
    slot.server_errors.internal += error;
    slot.upgraded += upgrade;
    let bucket = bucket_of(if ms == 0 { 5 } else { ms } * 1000);
    slot.first_byte.insert(bucket, answered + upgrade);
    slot.whole.insert(bucket, answered);
}

/// A soak.
pub(super) struct Soak {
    pub(super) watch: Watch,
    pub(super) new: Sample,
    pub(super) old: Sample,
    pub(super) seconds: f64,
}

impl Soak {
    /// After a minute in which the old slot did the same each second.
    pub(super) fn after(limits: Limits, before: Second) -> Self {
        let mut baseline = Baseline::default();
        let mut old = Sample::default();
        for second in 0..=60 {
            baseline.observe(&reading(f64::from(second), false, None, &old));
            pass(&mut old, before);
        }
        let names = Names { new: "green".to_owned(), old: "blue".to_owned() };
        let mut watch = Watch::new(limits, names, baseline);
        watch.observe(&reading(0.0, false, Some(&Sample::default()), &old));
        Self { watch, new: Sample::default(), old, seconds: 0.0 }
    }

    /// One more span of time with this traffic; says after how many seconds the version was found bad.
    pub(super) fn step(&mut self, length: f64, new: Second, old: Option<Second>) -> Option<f64> {
        self.seconds += length;
        pass(&mut self.new, new);
        if let Some(old) = old {
            pass(&mut self.old, old);
        }
        self.watch.observe(&reading(self.seconds, old.is_some(), Some(&self.new), &self.old));
        self.watch.now().map(|_| self.seconds)
    }

    /// So many seconds, each the same.
    pub(super) fn run(&mut self, seconds: u64, new: Second, old: Option<Second>) -> Option<f64> {
        (0..seconds).find_map(|_| self.step(1.0, new, old))
    }

    pub(super) fn text(&self) -> String {
        match self.watch.end() {
            Verdict::Good(figures) => format!("good: {figures}"),
            Verdict::Bad(reason) => format!("bad: {reason}"),
            Verdict::Inconclusive(reason) => format!("inconclusive: {reason}"),
        }
    }
}

pub(super) fn reading(seconds: f64, split: bool, new: Option<&Sample>, old: &Sample) -> Reading {
    let edge = EdgeReading { edge: "edge1".to_owned(), new: new.cloned(), old: Some(old.clone()) };
    Reading { at: Duration::from_secs_f64(seconds), split, edges: vec![edge] }
}
