//! The phase soaking: reads the counters of the new slot and probes both slots.

use cutover_core::deployment::{Event, State, Time};
use cutover_core::soak::{Soak, Verdict};

use super::work::Work;
use crate::journal::Journal;
use crate::shifting::PATIENCE;
use crate::world::World;

impl<W: World, J: Journal> Work<W, J> {
    /// Watches the new slot until the verdict. The counters and the probes can each end the soak.
    pub(super) async fn soak(&self, until: Time, state: &State) -> Event {
        tokio::select! {
            event = self.watch_counters(until, state) => event,
            why = self.new_slot_sick() => Event::SoakBad(why),
            () = self.watch_old_slot("soaking", state) => Event::SoakBlind("the watch has ended".to_owned()),
        }
    }

    async fn watch_counters(&self, until: Time, state: &State) -> Event {
        let plan = &self.deployment.plan;
        let config = &self.deployment.policy.soak;
        let limits = config.limits(self.deployment.policy.probe.require);
        let mut soak = Soak::new(self.mark(state).baseline);
        let mut read = self.clock.now();
        loop {
            match self.look().await {
                Ok(look) => {
                    read = self.clock.now();
                    if let Some(event) = self.moved_since_switch(&look, state).or_else(|| self.held(&look)) {
                        return event;
                    }
                    self.renew(&look).await;
                    if let Some(slot) = look.group.slot(&plan.to) {
                        soak.observe(&slot.counters);
                    }
                    let verdict = if read >= until { Some(soak.last(&limits)) } else { soak.early(&limits) };
                    if let Some(verdict) = verdict {
                        return self.judged(verdict).await;
                    }
                }
                Err(error) => {
                    let blind = read.until(self.clock.now());
                    if blind >= PATIENCE {
                        let seconds = blind.as_secs();
                        return Event::SoakBlind(format!(
                            "no counters could be read for {seconds} s: {error}"
                        ));
                    }
                }
            }
            let now = self.clock.now();
            let left = if now < until { now.until(until) } else { config.interval.get() };
            tokio::time::sleep(config.interval.get().min(left)).await;
        }
    }

    async fn judged(&self, verdict: Verdict) -> Event {
        match verdict {
            Verdict::Good(figures) => {
                self.note("soaking", &format!("good: {figures}")).await;
                Event::SoakPassed
            }
            Verdict::Bad(why) => Event::SoakBad(why),
            Verdict::Inconclusive(why) => Event::SoakInconclusive(why),
        }
    }
}
