//! A series of switches of one proxy.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use cutover_tests::{Load, Plan, SlotOracle};

use super::poll::{Poll, PollReport, TimedAnswer};
use super::proxy::{Proxy, Slot};
use crate::sample::Sample;

/// The load on the proxy, besides the poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoadLevel {
    Idle,
    Busy,
}

/// The figures of all switches of one proxy under one load level.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) name: &'static str,
    calls: Vec<Duration>,
    moved: Vec<Duration>,
    acknowledged_after: Vec<f64>,
    flushes: Vec<Duration>,
    pub(super) answers: u64,
    pub(super) stale: u64,
    pub(super) failed: u64,
    pub(super) closed: u64,
}

/// One switch.
#[derive(Clone, Copy, Debug)]
struct Call {
    begin: Instant,
    end: Instant,
    to: Slot,
}

/// The figures of one round.
struct Round {
    calls: Vec<Call>,
    flushes: Vec<Duration>,
    found: PollReport,
}

/// Time limit for the traffic to move.
const LIMIT: Duration = Duration::from_secs(10);
/// Pause between two switches.
const PAUSE: Duration = Duration::from_millis(10);

impl Series {
    pub(super) fn new(proxy: &dyn Proxy) -> Self {
        Self {
            name: proxy.name(),
            calls: Vec::new(),
            moved: Vec::new(),
            acknowledged_after: Vec::new(),
            flushes: Vec::new(),
            answers: 0,
            stale: 0,
            failed: 0,
            closed: 0,
        }
    }

    pub(super) fn calls(&self) -> Sample {
        self.calls.iter().copied().collect()
    }

    /// From the beginning of a call to the first answer of the new slot.
    pub(super) fn moved(&self) -> Sample {
        self.moved.iter().copied().collect()
    }

    /// From that answer to the end of the call; negative when the call ended first.
    pub(super) fn acknowledged_after(&self) -> Sample {
        self.acknowledged_after.iter().copied().collect()
    }

    pub(super) fn flushes(&self) -> Sample {
        self.flushes.iter().copied().collect()
    }

    /// Makes this many further switches, an even number. Returns the proxy.
    pub(super) async fn round(
        &mut self,
        proxy: Box<dyn Proxy>,
        traffic: LoadLevel,
        switches: usize,
    ) -> Result<Box<dyn Proxy>> {
        let expected = SlotOracle::new(Slot::Blue.name());
        let load = (traffic == LoadLevel::Busy).then(|| Load::start(Plan::new(proxy.address()), &expected));
        if let Some(load) = &load {
            load.answers(500).await?;
        }
        let switching = tokio::task::spawn_blocking(move || {
            let mut proxy = proxy;
            let round = switch_to_and_fro(&mut *proxy, &expected, switches);
            (round, proxy)
        });
        let (round, proxy) = switching.await?;
        self.judge(&round?);
        if let Some(load) = load {
            let report = load.stop().await;
            self.answers += report.total;
            self.stale += report.stale;
            self.failed += report.failed();
            self.closed += report.reconnects;
        }
        Ok(proxy)
    }

    fn judge(&mut self, round: &Round) {
        let Round { calls, flushes, found } = round;
        for (index, call) in calls.iter().enumerate() {
            self.calls.push(call.end - call.begin);
            let first = found.answers.iter().find(|seen| seen.answered >= call.begin && seen.slot == call.to);
            if let Some(first) = first {
                let moved = first.answered - call.begin;
                self.moved.push(moved);
                self.acknowledged_after.push((call.end - call.begin).as_secs_f64() - moved.as_secs_f64());
            }
            let next = calls.get(index + 1).map(|next| next.begin);
            // An answer after the beginning of the next call may come from either slot.
            let stale = |seen: &&TimedAnswer| {
                seen.slot != call.to && seen.sent >= call.end && next.is_none_or(|next| seen.answered < next)
            };
            self.stale += found.answers.iter().filter(stale).count() as u64;
        }
        self.flushes.extend(flushes);
        self.answers += found.answers.len() as u64 + found.failed;
        self.failed += found.failed;
        self.closed += found.closed;
    }
}

fn switch_to_and_fro(
    proxy: &mut dyn Proxy,
    expected: &std::sync::Arc<SlotOracle>,
    switches: usize,
) -> Result<Round> {
    let poll = Poll::start(proxy.address());
    let (mut calls, mut flushes) = (Vec::new(), Vec::new());
    let mut to = Slot::Green;
    for _ in 0..switches {
        std::thread::sleep(PAUSE);
        let announced = expected.announce(to.name());
        let begin = Instant::now();
        proxy.switch(to)?;
        let end = Instant::now();
        announced.acknowledge();
        calls.push(Call { begin, end, to });
        while !poll.sees(to) {
            ensure!(end.elapsed() < LIMIT, "{}: the traffic did not come to {}", proxy.name(), to.name());
            std::thread::sleep(Duration::from_micros(100));
        }
        std::thread::sleep(PAUSE);
        flushes.extend(proxy.bare_flush().transpose()?);
        to = to.other();
    }
    Ok(Round { calls, flushes, found: poll.stop() })
}
