//! Probes over time: waiting for a healthy slot, and watching both slots.

use cutover_core::deployment::{Event, Old, Phase, State, Time};
use cutover_core::probe::{Health, Slot};

use super::work::Work;
use crate::families;
use crate::journal::Journal;
use crate::world::World;

impl<W: World, J: Journal> Work<W, J> {
    /// Probes the new slot in rounds until enough servers are healthy or the deadline has passed. The first round starts at once.
    pub(super) async fn wait_until_ready(&self, until: Time) -> Event {
        let slot = &self.deployment.plan.to;
        let mut seen = self.unprobed();
        let mut said = String::new();
        let rounds = async {
            loop {
                let (why, its_doubt) = self.probe_round_of(slot, &mut seen).await;
                if seen.health() == Health::Healthy {
                    if let Some(doubt) = its_doubt {
                        tracing::warn!(deployment = self.deployment.id, slot, "{doubt}");
                        self.note("probing", &format!("slot \"{slot}\": {doubt}")).await;
                    }
                    return;
                }
                if why != said {
                    self.note("probing", &format!("slot \"{slot}\" is not healthy yet: {why}")).await;
                    said = why;
                }
                tokio::time::sleep(self.deployment.policy.probe.interval.get()).await;
            }
        };
        tokio::select! {
            () = rounds => Event::Ready,
            () = self.clock.sleep_until(until) => {
                let limit = self.deployment.policy.probe.deadline;
                let why = if said.is_empty() { "no probe has finished".to_owned() } else { said };
                let hint = self.two_families(slot).await;
                Event::NotReady(format!("slot \"{slot}\" was not healthy within {limit}: {why}{hint}"))
            }
        }
    }

    /// Waits until the new slot is sick and returns the reason.
    pub(super) async fn new_slot_sick(&self) -> String {
        let slot = &self.deployment.plan.to;
        let mut seen = self.unprobed();
        loop {
            let why = self.probe_round(slot, &mut seen).await;
            if seen.health() == Health::Sick {
                return format!("probes of slot \"{slot}\" fail: {why}");
            }
            tokio::time::sleep(self.deployment.policy.probe.interval.get()).await;
        }
    }

    /// Notes when the old slot becomes sick or healthy. Never ends.
    pub(super) async fn watch_old_slot(&self, state: &State) {
        let slot = &self.deployment.plan.from;
        let old = state.marks.as_ref().map_or_else(Old::default, |marks| marks.old);
        let phase = state.phase.name();
        let mut seen = self.unprobed();
        let mut is_disarmed = false;
        // A slot that was never healthy is not reported as sick.
        let mut told = if old.healthy > 0 { Health::Healthy } else { Health::Sick };
        loop {
            let why = self.probe_round(slot, &mut seen).await;
            let is_open = old.is_as_before(seen.healthy(), seen.servers());
            let may_be = old.is_as_before(seen.not_sick(), seen.servers());
            match told {
                Health::Healthy if !may_be && seen.servers() > 0 => {
                    let message =
                        format!("slot \"{slot}\" is no longer healthy, so there is no way back: {why}");
                    tracing::warn!(deployment = self.deployment.id, "{message}");
                    self.note(phase, &message).await;
                    told = Health::Sick;
                }
                Health::Sick if is_open => {
                    self.note(phase, &format!("slot \"{slot}\" is healthy, so there is a way back")).await;
                    told = Health::Healthy;
                }
                _ => {}
            }
            if told == Health::Sick && matches!(state.phase, Phase::Soaking { .. }) && !is_disarmed {
                match self.disarm().await {
                    Ok(()) => is_disarmed = true,
                    Err(error) => {
                        tracing::warn!(deployment = self.deployment.id, error, "failed to end the trial");
                    }
                }
            }
            tokio::time::sleep(self.deployment.policy.probe.interval.get()).await;
        }
    }

    pub(super) fn unprobed(&self) -> Slot {
        let probe = &self.deployment.policy.probe;
        Slot::new(probe.thresholds(), probe.require)
    }

    /// A hint for a slot with servers of two address families; empty for other slots.
    async fn two_families(&self, slot: &str) -> String {
        let look = self.look().await.ok();
        let Some(slot) = look.as_ref().and_then(|look| look.group.slot(slot)) else { return String::new() };
        let Some(families) = families::of_slot(slot) else { return String::new() };
        let round = self.prober().round(slot).await;
        format!("; {}", families.answering(round.passing()))
    }

    /// Probes one round and returns why the slot is not healthy. If the edge does not answer in the time of a probe, the last known
    /// servers are probed.
    pub(super) async fn probe_round(&self, slot: &str, seen: &mut Slot) -> String {
        self.probe_round_of(slot, seen).await.0
    }

    /// The same, and why its health proves little.
    async fn probe_round_of(&self, slot: &str, seen: &mut Slot) -> (String, Option<String>) {
        let timeout = self.deployment.policy.probe.timeout.get();
        let looked = match tokio::time::timeout(timeout, self.look()).await {
            Ok(Ok(look)) => Ok(look.group),
            Ok(Err(error)) => self.seen.lock().clone().ok_or_else(|| error.to_string()),
            Err(_) => {
                let known = self.seen.lock().clone();
                known.ok_or_else(|| format!("edge \"{}\" does not answer", self.fleet().name()))
            }
        };
        match looked {
            Ok(group) => match group.slot(slot) {
                Some(slot) => {
                    if slot.name == self.deployment.plan.to {
                        // A restarted edge has forgotten the standby.
                        self.stand_by(&group).await;
                    }
                    let round = self.prober().round(slot).await;
                    let doubt = round.doubt();
                    seen.observe(round.results);
                    (seen.why(), doubt)
                }
                None => (format!("group \"{}\" has no slot \"{slot}\"", group.name), None),
            },
            Err(why) => (why, None),
        }
    }
}
