//! Waiting until the new slot is healthy, and watching slots that should stay so.

use cutover_core::deployment::{Event, Time};
use cutover_core::probe::{Health, Slot};

use super::Scene;
use crate::probe::Prober;
use crate::world::World;

impl<W: World> Scene<W> {
    pub(super) fn prober(&self) -> Prober<'_, W> {
        let deployment = &self.deployment;
        Prober { world: &self.world, group: &deployment.plan.group, config: &deployment.config }
    }

    /// First probe at once, then one round each interval until all peers are healthy.
    pub(super) async fn wait_until_ready(&self, until: Time) -> Event {
        let slot = &self.deployment.plan.to;
        let mut seen = Slot::new(self.deployment.config.probe.thresholds());
        let mut said = String::new();
        let rounds = async {
            loop {
                let why = self.probe_round(slot, &mut seen).await;
                if seen.health() == Health::Healthy {
                    return;
                }
                if why != said {
                    self.note("probing", &format!("slot \"{slot}\" is not healthy yet: {why}")).await;
                    said = why;
                }
                tokio::time::sleep(self.deployment.config.probe.interval.get()).await;
            }
        };
        tokio::select! {
            () = rounds => Event::Ready,
            () = self.clock.sleep_until(until) => {
                let limit = self.deployment.config.probe.deadline;
                let why = if said.is_empty() { "no probe has ended".to_owned() } else { said };
                Event::NotReady(format!("slot \"{slot}\" was not healthy within {limit}: {why}"))
            }
        }
    }

    /// Ends when the new slot has become sick, with the reason.
    pub(super) async fn new_slot_sick(&self) -> String {
        let slot = &self.deployment.plan.to;
        let mut seen = Slot::new(self.deployment.config.probe.thresholds());
        loop {
            let why = self.probe_round(slot, &mut seen).await;
            if seen.health() == Health::Sick {
                return format!("probes of slot \"{slot}\" fail: {why}");
            }
            tokio::time::sleep(self.deployment.config.probe.interval.get()).await;
        }
    }

    /// Never ends: says when the old slot, the way back, becomes sick or healthy.
    pub(super) async fn watch_old_slot(&self, phase: &str) {
        let slot = &self.deployment.plan.from;
        let mut seen = Slot::new(self.deployment.config.probe.thresholds());
        let mut told = Health::Healthy;
        loop {
            let why = self.probe_round(slot, &mut seen).await;
            match (told, seen.health()) {
                (Health::Healthy, Health::Sick) => {
                    let message = format!("slot \"{slot}\" has become sick: there is no way back now: {why}");
                    tracing::warn!(deployment = self.deployment.id, "{message}");
                    self.note(phase, &message).await;
                    told = Health::Sick;
                }
                (Health::Sick, Health::Healthy) => {
                    self.note(phase, &format!("slot \"{slot}\" is healthy again")).await;
                    told = Health::Healthy;
                }
                _ => {}
            }
            tokio::time::sleep(self.deployment.config.probe.interval.get()).await;
        }
    }

    /// One round, and what keeps the slot from being healthy. When nginx cannot be read nothing is learnt about the slot.
    async fn probe_round(&self, slot: &str, seen: &mut Slot) -> String {
        match self.world.group(&self.deployment.plan.group).await {
            Ok(group) => match group.slot(slot) {
                Some(slot) => {
                    seen.observe(self.prober().round(slot).await);
                    seen.why()
                }
                None => format!("group \"{}\" has no slot \"{slot}\"", group.name),
            },
            Err(error) => format!("nginx {error}"),
        }
    }
}
