//! The end of a rollback: the old slot has the traffic again, and is watched as a new version would be.
//!
//! What made the new version fail may have hurt the old one, too: a migration that cannot be reverted, or a service that both
//! need.

use std::time::Duration;

use cutover_core::deployment::{Event, State, Time};
use cutover_core::verdict::{Baseline, Names, Reading, Verdict, Watch};

use super::work::Work;
use crate::journal::Journal;
use crate::prober::Found;
use crate::world::World;

impl<W: World, J: Journal> Work<W, J> {
    /// Watches the old slot until `until`. Ends early if it is bad.
    pub(super) async fn watch_way_back(&self, until: Time, state: &State) -> Event {
        tokio::select! {
            event = self.watch_old_counters(until, state) => event,
            why = self.old_slot_sick(state) => Event::OldBad(why),
        }
    }

    /// Whether the old slot, which has the traffic again, has no healthy server any more while the new one has.
    pub(super) async fn old_slot_died(&self) -> Option<Event> {
        let plan = &self.deployment.plan;
        let group = self.look_patiently().await.ok()?.group;
        let is_up = |found: &Found| found.healthy > 0;
        let old = self.prober().look(&group, &plan.from, is_up).await.ok()?;
        if is_up(&old) || old.servers == 0 {
            return None;
        }
        let new = self.prober().found(group.slot(&plan.to)?).await;
        is_up(&new).then_some(Event::OldSick(old.why))
    }

    async fn watch_old_counters(&self, until: Time, state: &State) -> Event {
        let Self { deployment, clock, .. } = self;
        let (plan, policy) = (&deployment.plan, &deployment.policy);
        let names = Names { new: plan.from.clone(), old: format!("{} before", plan.from) };
        let known = state.marks.as_ref().map(|marks| marks.known.clone()).unwrap_or_default();
        let mut watch = Watch::new(policy.soak.limits(policy.probe.require), names, Baseline::from(known));
        let begun = clock.now();
        loop {
            if let Ok(look) = self.look().await {
                // One edge of several that is not as the others are is repaired.
                if !look.edges.values().any(|look| look.route().is_all_on(&plan.from)) {
                    return Event::RouteMoved(look.moved());
                }
                let (at, edges) = (begun.until(clock.now()), look.readings(Some(&plan.from), None));
                watch.observe(&Reading { at, split: false, edges });
                let is_over = clock.now() >= until;
                match if is_over { Some(watch.end()) } else { watch.now() } {
                    Some(Verdict::Bad(why)) => return Event::OldBad(why.to_string()),
                    Some(_) => return Event::OldGood,
                    None => {}
                }
            } else if clock.now() >= until {
                return Event::OldGood;
            }
            let left = clock.now().until(until).max(Duration::from_millis(1));
            tokio::time::sleep(policy.soak.interval.get().min(left)).await;
        }
    }

    /// Waits until the old slot has fewer healthy servers than before the deployment, and returns the reason.
    async fn old_slot_sick(&self, state: &State) -> String {
        let slot = &self.deployment.plan.from;
        let old = state.marks.clone().unwrap_or_default().old;
        let mut seen = self.unprobed();
        loop {
            let why = self.probe_round(slot, &mut seen).await;
            if seen.servers() > 0 && !old.is_as_before(seen.not_sick(), seen.servers()) {
                return format!("probes of slot \"{slot}\" fail: {why}");
            }
            tokio::time::sleep(self.deployment.policy.probe.interval.get()).await;
        }
    }
}
