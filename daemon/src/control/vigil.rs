//! The vigil over the active slot of each group: its probes and its counters, for as long as the daemon runs.
//!
//! ```text
//! edge -> Past, for the baseline of the next deployment
//!      -> core's Vigil (absolute limits) --+
//! peers -> probes of the primaries --------+-> HealthState -> log, metrics, status with the command that helps
//! ```
//!
//! A vigil changes nothing: an operator decides. While the driver of a deployment probes and judges the active slot itself, the
//! vigil only reads the counters.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cutover_core::deployment::{State, Time};
use cutover_core::verdict::{EdgeReading, Reading};
use cutover_engine::policy::Policy;
use cutover_engine::prober::Prober;
use cutover_engine::versions::Versions;
use cutover_engine::world::World;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::Control;

mod advice;
mod baseline;
mod health;
mod lookout;
mod stuck;

use lookout::{Lookout, News};

pub(super) use baseline::{Route, Served};
pub use health::{HealthState, HealthStatus};

/// How often an unhealthy group's command that helps is looked for again, because other slots come and go.
const ADVICE_INTERVAL: Duration = Duration::from_secs(10);

/// The vigils over all groups.
#[derive(Debug, Default)]
pub(super) struct Vigils {
    groups: Mutex<BTreeMap<String, Arc<Kept>>>,
    /// The state of the last deployment of each group.
    deployments: Mutex<BTreeMap<String, watch::Receiver<State>>>,
}

/// What the vigil over one group has found.
#[derive(Debug, Default)]
struct Kept {
    task: Mutex<Option<AbortHandle>>,
    /// The active slot, its health, and until when that says how it is.
    health: Mutex<Option<(String, HealthStatus, Time)>>,
    past: Mutex<Option<baseline::ActivePast>>,
    last: Mutex<stuck::Last>,
}

impl Vigils {
    /// Follows the state of a new deployment.
    pub(super) fn follow(&self, group: &str, state: watch::Receiver<State>) {
        self.deployments.lock().insert(group.to_owned(), state);
        self.forget_last(group);
    }

    /// The health of a group's active slot. Unknown until it has been probed, and if that was too long ago.
    pub(super) fn health(&self, now: Time, group: &str, active: &str) -> HealthStatus {
        let kept = self.groups.lock().get(group).cloned();
        let health = kept.and_then(|kept| kept.health.lock().clone());
        let health = health.filter(|(slot, _, until)| slot == active && now <= *until);
        health.map(|(_, health, _)| health).unwrap_or_default()
    }

    /// What the active slot did in the last minutes until this reading. `None` if it had no answer, or has just got the traffic.
    pub(super) fn known(&self, group: &str, route: &Route, reading: &Reading) -> Option<Served> {
        let kept = self.groups.lock().get(group).cloned();
        kept?.past.lock().as_mut()?.known(route, reading)
    }

    /// Ends all vigils.
    pub(super) fn stop(&self) {
        for (_, kept) in std::mem::take(&mut *self.groups.lock()) {
            if let Some(task) = kept.task.lock().take() {
                task.abort();
            }
        }
    }

    /// Whether the driver of a deployment probes and judges the active slot now.
    fn is_judged(&self, group: &str) -> bool {
        self.deployments.lock().get(group).is_some_and(|state| {
            // A closed channel means that its driver has ended.
            state.has_changed().is_ok() && state.borrow().phase.judges()
        })
    }

    /// Whether the driver of a deployment works on the group, so that it probes the slots itself.
    pub(super) fn is_driven(&self, group: &str) -> bool {
        self.deployments.lock().get(group).is_some_and(|state| {
            let phase = &state.borrow().phase;
            state.has_changed().is_ok() && !phase.is_final() && !phase.only_watches()
        })
    }

    /// Removes the vigil over a group, if that is not needed now.
    fn end(&self, group: &str, is_needed: impl Fn() -> bool) -> bool {
        let mut groups = self.groups.lock();
        let ends = !is_needed();
        if ends {
            groups.remove(group);
        }
        ends
    }
}

impl<W: World> Control<W> {
    /// Starts a vigil over each group of the configuration that has none.
    pub(super) fn keep_vigils(&self) {
        let mut groups = self.vigils.groups.lock();
        for group in self.groups() {
            groups.entry(group).or_insert_with_key(|group| {
                let kept = Arc::new(Kept::default());
                let task = tokio::spawn(self.clone().keep_vigil(group.clone(), Arc::clone(&kept)));
                *kept.task.lock() = Some(task.abort_handle());
                kept
            });
        }
    }

    /// Keeps the vigil over a group until the configuration no longer has the group.
    async fn keep_vigil(self, group: String, kept: Arc<Kept>) {
        let mut lookout: Option<Lookout> = None;
        loop {
            match self.policy(&group) {
                Ok(policy) => {
                    self.look_out(&group, &policy, &kept, &mut lookout).await;
                    tokio::time::sleep(policy.probe.interval.get()).await;
                }
                Err(_) if self.vigils.end(&group, || self.policy(&group).is_ok()) => return,
                // The group has just returned.
                Err(_) => {}
            }
        }
    }

    /// One round: reads the counters, probes the active slot, and tells what has changed.
    async fn look_out(&self, group: &str, policy: &Policy, kept: &Kept, lookout: &mut Option<Lookout>) {
        // A failure to read the edge says nothing about the slot. `status` shows it.
        let view = self.fleet(group).look(group).await;
        self.repair(group, policy, view.as_ref().ok()).await;
        let Ok(view) = view else { return };
        self.notice(group, &view);
        let (seen, now) = (&view.group, self.clock.now());
        let Some(active) = seen.slot(&seen.route.active) else { return };
        if lookout.as_ref().is_none_or(|lookout| lookout.slot() != active.name) {
            *kept.health.lock() = None;
        }
        let lookout = Lookout::over(lookout, group, &active.name, policy);
        if lookout.is_due(now, policy) {
            let reading = self.reading(now, view.readings(Some(&active.name), None));
            let is_serving = !lookout.is_dead();
            baseline::observe(&mut kept.past.lock(), &Route::of(&view), &reading, policy, is_serving);
            lookout.read(now, &reading);
        }
        if self.vigils.is_judged(group) {
            *kept.health.lock() = None;
            return;
        }
        let versions = match policy.probe_needs_version() {
            // Without the journal, a version is not expected.
            true => self.versions_in(seen).await.unwrap_or_default(),
            false => Versions::default(),
        };
        let round = Prober { world: &*self.world, group, policy, versions }.round(active).await;
        let (before, was_untold) = (lookout.status(), lookout.is_untold());
        let changed = lookout.probed(round, now);
        // It was over before the command that helps was found.
        if was_untold && lookout.status().state != before.state {
            News::Trouble.tell(group, &active.name, &before);
        }
        if lookout.needs_advice(now, ADVICE_INTERVAL) {
            let (control, health, policy) = (self.clone(), lookout.status(), policy.clone());
            let seen = seen.clone();
            let advice = async move { control.what_helps(&seen, &health, &policy).await };
            lookout.ask(tokio::spawn(advice), now);
        }
        let answered = lookout.answered().await;
        let status = lookout.status();
        for news in changed.iter().chain(&answered) {
            news.tell(group, &active.name, &status);
        }
        let until = self.clock.now().after(policy.probe.lasts());
        *kept.health.lock() = Some((active.name.clone(), status, until));
        let well = lookout.well_since();
        self.settle(group, policy, kept, seen, well).await;
    }

    /// A reading with the counters of one slot by edge.
    pub(super) fn reading(&self, now: Time, edges: Vec<EdgeReading>) -> Reading {
        Reading { at: Duration::from_millis(now.0), split: false, edges }
    }
}
