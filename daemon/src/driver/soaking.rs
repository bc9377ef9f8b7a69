//! The soak: the counters of the new slot, and probes of both.

use cutover_core::counters::Counters;
use cutover_core::deployment::{Event, Marks, Time};
use cutover_core::soak::{Soak, Verdict};

use super::Scene;
use super::switching::{PATIENCE, moved};
use crate::world::World;

impl<W: World> Scene<W> {
    /// Watches until the verdict. Users are on the new version: whichever sign is first decides.
    pub(super) async fn soak(&self, until: Time, generation: u32, marks: Marks) -> Event {
        tokio::select! {
            event = self.watch_counters(until, generation, marks.baseline) => event,
            why = self.new_slot_sick() => Event::SoakBad(why),
            () = self.watch_old_slot("soaking", marks.old) => Event::SoakBlind("the watch has ended".to_owned()),
        }
    }

    async fn watch_counters(&self, until: Time, generation: u32, baseline: Counters) -> Event {
        let plan = &self.deployment.plan;
        let config = &self.deployment.config.soak;
        let limits = config.limits(self.deployment.config.probe.require);
        let mut soak = Soak::new(baseline);
        let mut read = self.clock.now();
        loop {
            match self.world.group(&plan.group).await {
                Ok(group) => {
                    read = self.clock.now();
                    let route = &group.route;
                    if route.active != plan.to || route.generation != generation {
                        return Event::RouteMoved(moved(&group));
                    }
                    if let Some(slot) = group.slot(&plan.to) {
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
                            "nginx could not be read for {seconds} s: it {error}"
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
