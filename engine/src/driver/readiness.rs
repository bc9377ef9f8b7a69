//! Probes over time: waiting for a healthy slot, and watching both slots.

use cutover_core::deployment::{Event, Old, Phase, State, Time};
use cutover_core::probe::{Health, Slot};

use super::work::Work;
use crate::capacity;
use crate::families;
use crate::journal::Journal;
use crate::world::World;

/// Why the new slot may not get traffic yet.
#[derive(Debug, PartialEq, Eq)]
enum Unready {
    /// It fails its probes.
    Sick(String),
    /// It has too few healthy servers, compared with the old slot.
    Small(String),
}

impl Unready {
    fn told(&self, slot: &str) -> String {
        match self {
            Self::Sick(why) => format!("slot \"{slot}\" is not healthy yet: {why}"),
            Self::Small(why) => why.clone(),
        }
    }
}

impl<W: World, J: Journal> Work<W, J> {
    /// Probes the new slot in rounds until enough servers are healthy or the deadline has passed. The first round starts at once.
    pub(super) async fn wait_until_ready(&self, until: Time) -> Event {
        let slot = &self.deployment.plan.to;
        let mut seen = self.unprobed();
        let mut said = None;
        let rounds = async {
            loop {
                let (sick, its_doubt) = self.probe_round_of(slot, &mut seen).await;
                let why = match seen.health() {
                    Health::Healthy => match self.large_enough().await {
                        Ok(()) => return self.note_doubt(its_doubt).await,
                        Err(why) => Unready::Small(why),
                    },
                    Health::Unknown | Health::Sick => Unready::Sick(sick),
                };
                if said.as_ref() != Some(&why) {
                    self.note("probing", &why.told(slot)).await;
                    said = Some(why);
                }
                tokio::time::sleep(self.deployment.policy.probe.interval.get()).await;
            }
        };
        tokio::select! {
            () = rounds => return Event::Ready,
            () = self.clock.sleep_until(until) => {}
        }
        let limit = self.deployment.policy.probe.deadline;
        let why = match said {
            Some(Unready::Small(why)) => {
                let group = &self.deployment.plan.group;
                return Event::NotReady(format!(
                    "{why}, and that did not change within {limit}: start more servers, or set a smaller capacity in \
                     [group.{group}]"
                ));
            }
            Some(Unready::Sick(why)) => why,
            None => "no probe has finished".to_owned(),
        };
        let hint = self.two_families(slot).await;
        Event::NotReady(format!("slot \"{slot}\" was not healthy within {limit}: {why}{hint}"))
    }

    /// Notes why the good probes of the new slot may prove nothing.
    async fn note_doubt(&self, doubt: Option<String>) {
        let Some(doubt) = doubt else { return };
        let slot = &self.deployment.plan.to;
        tracing::warn!(deployment = self.deployment.id, slot, "{doubt}");
        self.note("probing", &format!("slot \"{slot}\": {doubt}")).await;
    }

    /// Fails with one line if the new slot has too few healthy servers on an edge, compared with the old one.
    async fn large_enough(&self) -> Result<(), String> {
        let plan = &self.deployment.plan;
        let view = self.look().await.map_err(|error| error.to_string())?;
        for (edge, look) in &view.edges {
            let checked = capacity::check(&self.prober(), &look.group, (&plan.from, &plan.to), 1).await;
            checked
                .map_err(|why| if view.edges.len() > 1 { format!("edge \"{edge}\": {why}") } else { why })?;
        }
        Ok(())
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
