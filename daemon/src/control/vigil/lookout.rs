//! What the vigil over one group knows of its active slot: probes, counters, and what was told.

use std::time::Duration;

use cutover_core::deployment::Time;
use cutover_core::probe::{self, Health};
use cutover_core::verdict::{Change, Limits, Reading, Vigil};
use cutover_engine::clock::rfc3339;
use cutover_engine::metrics;
use cutover_engine::policy::{Policy, Probe};
use cutover_engine::prober::Round;
use tokio::task::JoinHandle;

use super::health::{HealthState, HealthStatus};

/// The active slot of one group.
#[derive(Debug)]
pub(super) struct Lookout {
    group: String,
    slot: String,
    probe: Probe,
    limits: Limits,
    probes: probe::Slot,
    vigil: Vigil,
    /// When the counters were last read.
    read: Option<Time>,
    /// The figures with which the slot has become well again.
    recovered: Option<String>,
    state: HealthState,
    since: Time,
    next: Option<String>,
    /// When `next` was looked for.
    advised: Option<Time>,
    /// Looks for `next`. It probes other slots, which takes time.
    advice: Option<JoinHandle<String>>,
    /// Whether trouble waits for the command that helps to be told.
    untold: bool,
}

/// A change that is told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It is dead or bad.
    Trouble,
    /// A part of its servers is not healthy. Holds the reason.
    Degraded(String),
    /// It is healthy again. Holds the figures, if its answers were bad.
    Well(Option<String>),
}

impl Lookout {
    /// The lookout over this slot. Begins anew if another slot was active.
    pub(super) fn over<'a>(
        before: &'a mut Option<Self>,
        group: &str,
        slot: &str,
        policy: &Policy,
    ) -> &'a mut Self {
        let limits = policy.soak.limits(policy.probe.require);
        // The counters are read between two rounds of probes, and a round may wait for a time-out.
        let rhythm = policy.probe.interval.get() + policy.probe.timeout.get();
        let limits = Limits { gap: limits.gap.max(rhythm * 2), ..limits };
        before.take_if(|before| before.slot != slot);
        let lookout = before.get_or_insert_with(|| Self {
            group: group.to_owned(),
            slot: slot.to_owned(),
            probe: policy.probe.clone(),
            probes: probe::Slot::new(policy.probe.thresholds(), policy.probe.require),
            vigil: Vigil::new(limits.clone(), slot),
            limits: limits.clone(),
            read: None,
            recovered: None,
            state: HealthState::Unknown,
            since: Time::default(),
            next: None,
            advised: None,
            advice: None,
            untold: false,
        });
        if lookout.probe != policy.probe {
            lookout.probe = policy.probe.clone();
            lookout.probes = probe::Slot::new(policy.probe.thresholds(), policy.probe.require);
        }
        if lookout.limits != limits {
            lookout.vigil = Vigil::new(limits.clone(), slot);
            lookout.limits = limits;
        }
        lookout
    }

    pub(super) fn slot(&self) -> &str {
        &self.slot
    }

    /// Since when it is healthy. `None` if it is not.
    pub(super) fn well_since(&self) -> Option<Time> {
        (self.state == HealthState::Healthy).then_some(self.since)
    }

    pub(super) fn is_dead(&self) -> bool {
        self.state == HealthState::Dead
    }

    /// Whether the counters are due to be read.
    pub(super) fn is_due(&self, now: Time, policy: &Policy) -> bool {
        let interval = policy.soak.interval.get();
        // Rounds do not come exactly in time.
        self.read.is_none_or(|read| read.until(now) + policy.probe.interval.get() / 2 >= interval)
    }

    /// Adds a reading of the counters.
    pub(super) fn read(&mut self, now: Time, reading: &Reading) {
        self.read = Some(now);
        if let Some(Change::Recovered(figures)) = self.vigil.observe(reading) {
            self.recovered = Some(figures.to_string());
        }
    }

    /// Adds a round of probes and returns what has changed.
    pub(super) fn probed(&mut self, round: Round, now: Time) -> Option<News> {
        let answers = round.passed() > 0;
        self.probes.observe(round.results);
        let before = self.state;
        let state = self.judge(answers);
        if state == before {
            return None;
        }
        self.state = state;
        self.since = now;
        metrics::active_slot(&self.group, &self.slot, !self.is_dead(), state == HealthState::Bad);
        (self.next, self.advised) = (None, None);
        if let Some(advice) = self.advice.take() {
            advice.abort();
        }
        self.untold = state.is_trouble();
        match state {
            HealthState::Dead | HealthState::Bad => None,
            HealthState::Degraded => Some(News::Degraded(self.probes.why())),
            HealthState::Healthy if before != HealthState::Unknown => {
                Some(News::Well(self.recovered.take().filter(|_| before == HealthState::Bad)))
            }
            HealthState::Healthy | HealthState::Unknown => None,
        }
    }

    /// The health now. Too few probes leave it as it was. `answers`: whether a server passed its last probe.
    fn judge(&mut self, answers: bool) -> HealthState {
        let by_probes = match self.probes.health() {
            Health::Healthy => HealthState::Healthy,
            Health::Sick if self.probes.not_sick() == 0 => HealthState::Dead,
            Health::Sick if self.probes.healthy() > 0 => HealthState::Degraded,
            Health::Sick | Health::Unknown => self.state,
        };
        if self.is_dead() && by_probes != HealthState::Dead {
            // The errors while no server was healthy say nothing about the version.
            self.vigil = Vigil::new(self.limits.clone(), &self.slot);
        }
        // The errors of a slot that has just died are seen before enough of its probes have failed.
        let is_dying = !answers && self.probes.servers() > 0;
        match self.vigil.bad() {
            Some(_) if by_probes == HealthState::Dead => HealthState::Dead,
            Some(_) if is_dying => self.state,
            Some(_) => HealthState::Bad,
            None => by_probes,
        }
    }

    /// Whether the command that helps is to be looked for.
    pub(super) fn needs_advice(&self, now: Time, interval: Duration) -> bool {
        let is_old = self.advised.is_none_or(|advised| advised.until(now) >= interval);
        self.state.is_trouble() && self.advice.is_none() && is_old
    }

    /// Waits for the command that helps, without blocking the rounds.
    pub(super) fn ask(&mut self, advice: JoinHandle<String>, now: Time) {
        self.advised = Some(now);
        self.advice = Some(advice);
    }

    /// Takes the command that helps, if it has been found. Returns trouble that was not told yet.
    pub(super) async fn answered(&mut self) -> Option<News> {
        let advice = self.advice.take_if(|advice| advice.is_finished())?;
        self.next = advice.await.ok();
        std::mem::take(&mut self.untold).then_some(News::Trouble)
    }

    /// Whether there is trouble that was not told, because the command that helps is still looked for.
    pub(super) fn is_untold(&self) -> bool {
        self.untold
    }

    pub(super) fn status(&self) -> HealthStatus {
        let why = match self.state {
            HealthState::Dead | HealthState::Degraded => Some(self.probes.why()),
            HealthState::Bad => self.vigil.bad().map(ToString::to_string),
            HealthState::Unknown => Some(self.probes.why()).filter(|why| !why.is_empty()),
            HealthState::Healthy => None,
        };
        HealthStatus {
            state: self.state,
            why,
            since: Some(rfc3339(self.since)).filter(|_| self.state != HealthState::Unknown),
            next: self.next.clone(),
        }
    }
}

impl Drop for Lookout {
    /// Nobody needs an alert about a slot that has no traffic, or a group that is gone from the configuration.
    fn drop(&mut self) {
        metrics::active_slot(&self.group, &self.slot, true, false);
        if let Some(advice) = self.advice.take() {
            advice.abort();
        }
    }
}

impl News {
    /// Logs it, in one line.
    pub(super) fn tell(&self, group: &str, slot: &str, status: &HealthStatus) {
        let why = status.why.as_deref().unwrap_or_default();
        match self {
            Self::Trouble => {
                let (state, helps) = (status.state, status.helps());
                tracing::error!(group, slot, "the active slot is {state}: {why}{helps}");
            }
            Self::Degraded(why) => {
                tracing::warn!(group, slot, "a part of the active slot is not healthy: {why}");
            }
            Self::Well(Some(figures)) => {
                tracing::info!(group, slot, "the active slot is healthy again: {figures}");
            }
            Self::Well(None) => tracing::info!(group, slot, "the active slot is healthy again"),
        }
    }
}
