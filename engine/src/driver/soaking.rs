//! The phase soaking: reads the counters of both slots, judges the new one, and probes both.
//!
//! One [`Watch`] sees all steps of a deployment, and goes on until the old slot is stopped. It is in memory: after a restart it
//! begins with what the slots have counted since the first switch.

use std::time::Duration;

use cutover_core::deployment::{Event, State, Time};
use cutover_core::verdict::{Baseline, EdgeReading, Names, Reading, Reason, Verdict, Watch};

use super::signals::figures_beside;
use super::synthetic::results::Results;
use super::work::Work;
use crate::edge::{EdgeError, PROBES_ONLY};
use crate::fleet::View;
use crate::journal::Journal;
use crate::policy::Signal;
use crate::shifting::PATIENCE;
use crate::world::World;

impl<W: World, J: Journal> Work<W, J> {
    /// Watches the new slot until the verdict. The counters and the probes can each end the soak.
    pub(super) async fn soak(&self, until: Option<Time>, state: &State) -> Event {
        tokio::select! {
            event = self.watch_counters(until, state) => event,
            () = self.ask_synthetically(&self.synthetic) => Event::SoakBlind("the requests have ended".to_owned()),
            why = self.new_slot_sick() => Event::SoakBad(why),
            why = self.signal_bad(state) => Event::SoakBad(why),
            () = self.watch_old_slot(state) => Event::SoakBlind("the watch has ended".to_owned()),
        }
    }

    /// Waits until the new slot is bad, after its soak.
    pub(super) async fn turns_bad(&self, state: &State) -> String {
        let counters = async {
            loop {
                if let Ok(look) = self.look().await
                    && let Some(Verdict::Bad(why)) = self.observe(&look, state).now()
                {
                    return why.to_string();
                }
                tokio::time::sleep(self.deployment.policy.soak.interval.get()).await;
            }
        };
        tokio::select! {
            why = counters => why,
            why = self.new_slot_sick() => why,
            why = self.signal_bad(state) => why,
        }
    }

    async fn watch_counters(&self, until: Option<Time>, state: &State) -> Event {
        let interval = self.deployment.policy.soak.interval.get();
        let begun = self.clock.now();
        // A paused deployment is judged, but its step does not end.
        let until = until.filter(|_| state.paused.is_none());
        let mut read = begun;
        let soak = &self.deployment.policy.soak;
        let gap = soak.limits(self.deployment.policy.probe.require).gap;
        let counts = self.fleet().abilities().counters;
        // Since then an edge that counts nothing was read without a gap. One that counts has missed evidence in a gap.
        let mut unbroken = begun;
        let mut said = false;
        // The verdict that waits for those of the companions.
        let mut passed = None;
        let mut is_whole = true;
        loop {
            match self.look().await {
                Ok(look) => {
                    let now = self.clock.now();
                    if !counts && read.until(now) > gap {
                        unbroken = now;
                    }
                    read = now;
                    if let Some(event) = self.moved_or_held(&look, state).await {
                        return event;
                    }
                    self.renew(&look).await;
                    if let Some(missing) = self.missing(&look) {
                        return Event::SoakBlind(missing);
                    }
                    let watch = self.observe(&look, state);
                    // Nothing is committed while an edge is away: it answers again, or takes all back.
                    let over = until.filter(|until| read >= *until && look.away.is_empty());
                    is_whole = look.away.is_empty();
                    if self.deployment.plan.probes_only {
                        if let Some(until) = over.filter(|_| passed.is_none())
                            && let Some(event) = self.probed_to_the_end(&look, (until, begun)).await
                        {
                            if !self.waits_with(&event, state) {
                                return event;
                            }
                            passed = Some(event);
                        }
                        if let Some(event) = self.pause_with(&passed, is_whole, (until, interval)).await {
                            return event;
                        }
                        continue;
                    }
                    let verdict = match over {
                        Some(until)
                            if passed.is_none()
                                && !self.goes_on(&watch, state, (until, unbroken, read), &mut said).await =>
                        {
                            Some(watch.end())
                        }
                        _ => watch.now(),
                    };
                    if let Some(verdict) = verdict {
                        let event = self.judged(verdict, &watch, state).await;
                        if !self.waits_with(&event, state) {
                            return event;
                        }
                        passed = Some(event);
                    }
                }
                Err(error) => {
                    let blind = read.until(self.clock.now());
                    // Of an edge that counts nothing and is away, no evidence is missed: probes and synthetic requests go to the
                    // servers themselves, and the soak ends when the edge says again where the traffic is.
                    let is_away = matches!(error, EdgeError::Unreachable { .. } | EdgeError::Late { .. });
                    if blind >= PATIENCE && (counts || !is_away) {
                        let seconds = blind.as_secs();
                        let what = if counts { "no counters" } else { "no route" };
                        return Event::SoakBlind(format!("{what} could be read for {seconds} s: {error}"));
                    }
                }
            }
            if let Some(event) = self.pause_with(&passed, is_whole, (until, interval)).await {
                return event;
            }
        }
    }

    /// Sleeps for the interval, or until the step is over if that comes first.
    pub(super) async fn pause_before(&self, until: Option<Time>, interval: Duration) {
        let now = self.clock.now();
        let left = until.filter(|until| now < *until).map_or(interval, |until| now.until(until));
        tokio::time::sleep(interval.min(left)).await;
    }

    /// The verdict where nothing is counted, when the step is over: the probes of the whole step and one more round decide. `None`:
    /// not yet, because the probes fail, or because nobody has probed for long enough.
    async fn probed_to_the_end(&self, look: &View, (until, begun): (Time, Time)) -> Option<Event> {
        let min_time = self.deployment.policy.soak.min_time();
        let verified = self.prober().verify(&look.group, &self.deployment.plan.to).await;
        let now = self.clock.now();
        let why = match verified {
            Ok(()) if begun.until(now) >= min_time => return Some(Event::SoakPassed),
            Ok(()) => "nobody has probed it for long enough".to_owned(),
            Err(why) => why,
        };
        // Probes that fail now and then would never end the soak by themselves.
        let late = until.max(begun).until(now);
        (late >= min_time * 2).then(|| Event::SoakInconclusive(format!("{PROBES_ONLY}: {why}")))
    }

    /// Adds a reading to the watch over this deployment, and returns the watch as it is then.
    fn observe(&self, look: &View, state: &State) -> Watch {
        let reading = self.reading(look, self.since_switch(state).until(self.clock.now()));
        self.keep_point(&reading, state);
        let mut watch = self.watch.lock();
        let watch = watch.get_or_insert_with(|| self.watch_from(state));
        watch.observe(&reading);
        watch.clone()
    }

    /// A watch that counts from the first switch.
    pub(super) fn watch_from(&self, state: &State) -> Watch {
        let plan = &self.deployment.plan;
        let policy = &self.deployment.policy;
        let names = Names { new: plan.to.clone(), old: plan.from.clone() };
        // A slot that was no version says nothing about what is normal.
        let marks = state.marks.as_ref().filter(|marks| marks.old.was_there());
        let known = marks.map(|marks| marks.known.clone()).unwrap_or_default();
        let watch = Watch::new(policy.soak.limits(policy.probe.require), names, Baseline::from(known));
        let is_counted = self.fleet().abilities().counters || policy.soak.synthetic.is_some();
        let mut watch = watch.with_outside(policy.signal.iter().map(Signal::limit)).uncounted(!is_counted);
        let marks = state.marks.iter().flat_map(|marks| &marks.edges);
        let reading = marks.map(|(edge, mark)| EdgeReading {
            edge: edge.clone(),
            new: Some(mark.baseline.clone()),
            old: mark.old.clone(),
        });
        let edges = reading.chain(self.counted_synthetically(&Results::default())).collect();
        watch.observe(&Reading { at: Duration::ZERO, split: false, edges });
        watch
    }

    /// A reading of all edges. `at`: the time since the first reading.
    fn reading(&self, look: &View, at: Duration) -> Reading {
        let plan = &self.deployment.plan;
        // Where nobody counts what the old slot answers, there is nothing to compare with at the same time.
        let split = self.fleet().abilities().counters && look.route().share(&plan.to).is_some();
        let mut edges = look.readings(Some(&plan.to), Some(&plan.from));
        edges.extend(self.counted_synthetically(&self.synthetic));
        Reading { at, split, edges }
    }

    /// An edge of several that has been away for longer than the others wait.
    fn missing(&self, look: &View) -> Option<String> {
        let fleet = self.fleet();
        let patience = self.patience();
        let is_missing =
            |(edge, _): &(&String, &EdgeError)| fleet.away_for(edge).is_some_and(|away| away >= patience);
        let (edge, why) = look.away.iter().find(is_missing)?;
        Some(format!("edge \"{edge}\" has not answered for {}: {why}", humantime::format_duration(patience)))
    }

    /// Whether there is no verdict yet, although the step was over at `until`.
    async fn goes_on(
        &self,
        watch: &Watch,
        state: &State,
        (until, unbroken, now): (Time, Time, Time),
        said: &mut bool,
    ) -> bool {
        let verdict = watch.end();
        let Verdict::Inconclusive(reason) = &verdict else { return false };
        let late = until.max(unbroken).until(now);
        let soak = &self.deployment.policy.soak;
        let min_time = soak.min_time();
        match (reason, self.share(state)) {
            // A restart proves nothing, nor does an edge that was away: a soak whose time passed while nobody watched goes on until
            // somebody has, for a while.
            (Reason::TooShort { .. }, _) if late < min_time * 2 => true,
            (Reason::OutsideShort { needed, .. }, None) if late < *needed * 2 => true,
            // It has also lost the answers to synthetic requests, which nobody else counts.
            (Reason::TooFew { .. }, None)
                if soak.synthetic.is_some() && unbroken.until(now) < self.deployment.plan.soak =>
            {
                true
            }
            (Reason::TooFew { .. } | Reason::OutsideShort { .. }, Some(_))
                if watch.seen().answers().bad == 0 =>
            {
                false
            }
            // A step that is neither good nor bad gets as much time as the soak would.
            (_, Some(_)) if late < self.deployment.plan.soak => true,
            _ => self.extends(&verdict, until, now, said).await,
        }
    }

    async fn judged(&self, verdict: Verdict, watch: &Watch, state: &State) -> Event {
        let of_them = match &verdict {
            Verdict::Good(_) => String::new(),
            Verdict::Bad(why) | Verdict::Inconclusive(why) => figures_beside(why, watch),
        };
        match (verdict, self.share(state)) {
            (Verdict::Good(figures), _) => {
                self.note("soaking", &format!("good: {figures}")).await;
                Event::SoakPassed
            }
            (Verdict::Bad(why), _) => Event::SoakBad(format!("{why}{of_them}")),
            // A small share may never give enough answers, and a short step not enough readings. The next step brings more.
            (
                Verdict::Inconclusive(why @ (Reason::TooFew { .. } | Reason::OutsideShort { .. })),
                Some(share),
            ) if watch.seen().answers().bad == 0 => {
                let percent = share.percent;
                self.note("soaking", &format!("nothing is wrong with {percent} of the traffic, but {why}"))
                    .await;
                Event::SoakPassed
            }
            (Verdict::Inconclusive(why), _) => Event::SoakInconclusive(format!("{why}{of_them}")),
        }
    }
}
