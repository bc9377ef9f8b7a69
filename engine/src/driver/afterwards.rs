//! The new version in the warm window: watched by its absolute limits, because nothing is compared with it any more.

use cutover_core::deployment::Event;
use cutover_core::shell::quoted;
use cutover_core::verdict::Sample;
use cutover_core::verdict::vigil::{Change, Vigil};

use super::work::Work;
use crate::journal::Journal;
use crate::policy::OnBad;
use crate::world::World;

impl<W: World, J: Journal> Work<W, J> {
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
        loop {
            if let Ok(look) = self.look().await {
                let at = begun.until(self.clock.now());
                let new = look.group.slot(slot).map(Sample::from);
                match vigil.observe(&self.samples(at, new, None)) {
                    Some(Change::Bad(why)) if goes_back => return why.to_string(),
                    Some(Change::Bad(why)) => {
                        let message = format!(
                            "slot \"{slot}\" is bad: {why}; to go back, type: cutover rollback {group}"
                        );
                        tracing::error!(deployment = self.deployment.id, "{message}");
                        self.note("warm", &message).await;
                    }
                    Some(Change::Recovered(figures)) => {
                        self.note("warm", &format!("slot \"{slot}\" is good again: {figures}")).await;
                    }
                    None => {}
                }
            }
            tokio::time::sleep(policy.soak.interval.get()).await;
        }
    }
}
