//! The new version in the warm window: watched by its absolute limits, because nothing is compared with it any more.

use std::sync::atomic::Ordering;
use std::time::Duration;

use cutover_core::deployment::{Event, Time};
use cutover_core::shell::quoted;
use cutover_core::verdict::Reading;
use cutover_core::verdict::vigil::{Change, Vigil};

use super::work::Work;
use crate::clock::rfc3339;
use crate::journal::Journal;
use crate::policy::OnBad;
use crate::world::World;

/// How much longer the old slot stays up at most while the new one is bad.
const GRACE: Duration = Duration::from_secs(3600);

impl<W: World, J: Journal> Work<W, J> {
    /// Waits while the new slot is bad: the old one is the way back that an operator needs now.
    pub(super) async fn while_bad(&self, until: Time) {
        let end = until.after(GRACE);
        let mut said = false;
        while self.is_bad.load(Ordering::Relaxed) && self.clock.now() < end {
            if !std::mem::replace(&mut said, true) {
                let (new, old, end) = (&self.deployment.plan.to, &self.deployment.plan.from, rfc3339(end));
                let message = format!(
                    "the warm window is over, but slot \"{new}\" is bad, so slot \"{old}\" stays up, at most until {end}"
                );
                self.note("warm", &message).await;
            }
            tokio::time::sleep(self.deployment.policy.probe.interval.get()).await;
        }
    }

    /// Watches the new slot. Ends if it is bad and the policy wants the traffic back; otherwise it is only said.
    pub(super) async fn watch_new_slot(&self) -> Event {
        let goes_back = self.deployment.policy.warm.on_bad == OnBad::Rollback;
        tokio::select! {
            why = self.counters_of_new_slot(goes_back) => Event::SoakBad(why),
            why = self.new_slot_sick(), if goes_back => Event::SoakBad(why),
        }
    }

    async fn counters_of_new_slot(&self, goes_back: bool) -> String {
        let (plan, policy) = (&self.deployment.plan, &self.deployment.policy);
        let (slot, group) = (&plan.to, quoted(&plan.group));
        let mut vigil = Vigil::new(policy.soak.limits(policy.probe.require), slot);
        let begun = self.clock.now();
        // The vigil of an interrupted run would have to take this back.
        self.is_bad.store(false, Ordering::Relaxed);
        loop {
            if let Ok(look) = self.look().await {
                let at = begun.until(self.clock.now());
                let edges = look.readings(Some(slot), None);
                match vigil.observe(&Reading { at, split: false, edges }) {
                    Some(Change::Bad(why)) if goes_back => return why.to_string(),
                    Some(Change::Bad(why)) => {
                        self.is_bad.store(true, Ordering::Relaxed);
                        let message = format!(
                            "slot \"{slot}\" is bad: {why}; to go back, type: cutover rollback {group}"
                        );
                        tracing::error!(deployment = self.deployment.id, "{message}");
                        self.note("warm", &message).await;
                    }
                    Some(Change::Recovered(figures)) => {
                        self.is_bad.store(false, Ordering::Relaxed);
                        self.note("warm", &format!("slot \"{slot}\" is good again: {figures}")).await;
                    }
                    None => {}
                }
            }
            tokio::time::sleep(policy.soak.interval.get()).await;
        }
    }
}
