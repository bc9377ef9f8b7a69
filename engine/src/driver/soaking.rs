//! The phase soaking: reads the counters of both slots, judges the new one, and probes both.

use std::time::Duration;

use cutover_core::deployment::{Event, State, Time};
use cutover_core::verdict::{Baseline, EdgeReading, Names, Reading, Reason, Sample, Verdict, Watch};

use super::synthetic::{Results, of_them};
use super::work::Work;
use crate::edge::Look;
use crate::journal::Journal;
use crate::shifting::PATIENCE;
use crate::world::World;

impl<W: World, J: Journal> Work<W, J> {
    /// Watches the new slot until the verdict. The counters and the probes can each end the soak.
    pub(super) async fn soak(&self, until: Time, state: &State) -> Event {
        let synthetic = Results::default();
        tokio::select! {
            event = self.watch_counters(until, state, &synthetic) => event,
            () = self.ask_synthetically(&synthetic) => Event::SoakBlind("the requests have ended".to_owned()),
            why = self.new_slot_sick() => Event::SoakBad(why),
            () = self.watch_old_slot(state) => Event::SoakBlind("the watch has ended".to_owned()),
        }
    }

    async fn watch_counters(&self, until: Time, state: &State, synthetic: &Results) -> Event {
        let interval = self.deployment.policy.soak.interval.get();
        let mut watch = self.watch(state);
        let begun = self.clock.now();
        let mut read = begun;
        let mut is_extended = false;
        loop {
            match self.look().await {
                Ok(look) => {
                    read = self.clock.now();
                    let moved = self.moved_since_switch(&look, state).await;
                    if let Some(event) = moved.or_else(|| self.held(&look)) {
                        return event;
                    }
                    self.renew(&look).await;
                    watch.observe(&self.reading(&look, synthetic, self.since_switch(until, read)));
                    let verdict = if read >= until { Some(watch.end()) } else { watch.now() };
                    if let Some(verdict) =
                        verdict.filter(|verdict| !self.is_too_soon(verdict, until.max(begun), read))
                        && !self.extends(&verdict, until, read, &mut is_extended).await
                    {
                        return self.judged(verdict, &of_them(watch.seen())).await;
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
            let left = if now < until { now.until(until) } else { interval };
            tokio::time::sleep(interval.min(left)).await;
        }
    }

    /// A watch that counts from the switch.
    fn watch(&self, state: &State) -> Watch {
        let plan = &self.deployment.plan;
        let policy = &self.deployment.policy;
        let names = Names { new: plan.to.clone(), old: plan.from.clone() };
        // A slot that was no version says nothing about what is normal.
        let marks = state.marks.as_ref().filter(|marks| marks.old.was_there());
        let known = marks.map(|marks| marks.known.clone()).unwrap_or_default();
        let mut watch = Watch::new(policy.soak.limits(policy.probe.require), names, Baseline::from(known));
        let mut first = self.samples(Duration::ZERO, Some(self.mark(state).baseline), None);
        first.edges.extend(self.synthetic(&Results::default()));
        watch.observe(&first);
        watch
    }

    fn since_switch(&self, until: Time, now: Time) -> Duration {
        self.deployment.plan.soak.saturating_sub(now.until(until)) + until.until(now)
    }

    fn reading(&self, look: &Look, synthetic: &Results, at: Duration) -> Reading {
        let plan = &self.deployment.plan;
        let sample = |slot: &str| look.group.slot(slot).map(Sample::from);
        let mut reading = self.samples(at, sample(&plan.to), sample(&plan.from));
        reading.edges.extend(self.synthetic(synthetic));
        reading
    }

    /// A reading of this edge. `at`: the time since the first reading.
    pub(super) fn samples(&self, at: Duration, new: Option<Sample>, old: Option<Sample>) -> Reading {
        let edge = self.world.name().to_owned();
        Reading { at, split: false, edges: vec![EdgeReading { edge, new, old }] }
    }

    /// A restart proves nothing: a soak whose time passed while nobody watched goes on until somebody has, for a while.
    fn is_too_soon(&self, verdict: &Verdict, due: Time, now: Time) -> bool {
        let is_short = matches!(verdict, Verdict::Inconclusive(Reason::TooShort { .. }));
        is_short && due.until(now) < self.deployment.policy.soak.min_time() * 2
    }

    async fn judged(&self, verdict: Verdict, of_them: &str) -> Event {
        match verdict {
            Verdict::Good(figures) => {
                self.note("soaking", &format!("good: {figures}")).await;
                Event::SoakPassed
            }
            Verdict::Bad(why) => Event::SoakBad(format!("{why}{of_them}")),
            Verdict::Inconclusive(why) => Event::SoakInconclusive(format!("{why}{of_them}")),
        }
    }
}
