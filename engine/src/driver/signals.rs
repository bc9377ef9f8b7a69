//! Signals from outside: queries that are asked beside the soak, each in its own rhythm. A slow or dead system delays nothing
//! else.

use std::future::pending;
use std::time::Duration;

use cutover_core::deployment::{State, Time};
use cutover_core::verdict::{Answer, OutsideFigure, OutsideReading, Reason, Verdict, Watch};
use futures_util::future::{join, select_all};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::synthetic::of_them;
use super::work::Work;
use crate::journal::Journal;
use crate::metrics::SignalGauges;
use crate::policy::Signal;
use crate::versions::Versions;
use crate::world::World;

/// The old version is judged by its value so long before the switch was known to be done.
const BEFORE: Duration = Duration::from_secs(1);

impl<W: World, J: Journal> Work<W, J> {
    /// Asks the signals of the policy until one is bad. Returns the reason.
    pub(super) async fn signal_bad(&self, state: &State) -> String {
        let signals = &self.deployment.policy.signal;
        if signals.is_empty() {
            return pending().await;
        }
        select_all(signals.iter().map(|signal| Box::pin(self.watch_signal(signal, state)))).await.0
    }

    async fn watch_signal(&self, signal: &Signal, state: &State) -> String {
        let gauges = SignalGauges::new(&self.deployment.plan.group, signal);
        let (new, old) = (&self.deployment.plan.to, &self.deployment.plan.from);
        let compares = signal.compare.is_some() && !state.has_nothing_before();
        // The value before the switch stays as it is.
        let mut before = None;
        let mut had_value = true;
        let mut ticks = interval(signal.interval.get());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let at = self.since_switch(state).until(self.clock.now());
            let old = async {
                match (compares, self.share(state), &before) {
                    (false, ..) => None,
                    (true, Some(_), _) => Some(self.value(signal, old, Duration::ZERO).await),
                    (true, None, Some(known)) => Some(Answer::clone(known)),
                    (true, None, None) => Some(self.value(signal, old, at + BEFORE).await),
                }
            };
            let (new, old) = join(self.value(signal, new, Duration::ZERO), old).await;
            if self.share(state).is_none() && matches!(old, Some(Answer::Value(_))) {
                before.clone_from(&old);
            }
            let why = match &new {
                Answer::Nothing(why) => Some(why.clone()),
                Answer::Value(value) => value.is_nan().then(|| "it is NaN".to_owned()),
            };
            let reading = OutsideReading { at, new, old };
            let (bad, figure) = self.observe_signal(signal, reading, state);
            gauges.set(figure.as_ref());
            self.tell(signal, why, &mut had_value);
            if let Some(why) = bad {
                return why;
            }
        }
    }

    /// Adds a reading to the watch over this deployment. Returns why it is bad.
    fn observe_signal(
        &self,
        signal: &Signal,
        reading: OutsideReading,
        state: &State,
    ) -> (Option<String>, Option<OutsideFigure>) {
        let mut watch = self.watch.lock();
        let watch = watch.get_or_insert_with(|| self.watch_from(state));
        watch.observe_outside(&signal.name, reading);
        let figure = watch.outside().find(|figure| figure.name == signal.name);
        let bad = match watch.now() {
            Some(Verdict::Bad(why)) => Some(format!("{why}{}", figures_beside(&why, watch))),
            _ => None,
        };
        (bad, figure)
    }

    /// Logs when a signal has no value any more, and when it has one again.
    fn tell(&self, signal: &Signal, missing: Option<String>, had_value: &mut bool) {
        let (deployment, signal) = (&self.deployment.id, &signal.name);
        match (std::mem::replace(had_value, missing.is_none()), missing) {
            (true, Some(why)) => tracing::warn!(deployment, signal, why, "a signal has no value"),
            (false, None) => tracing::info!(deployment, signal, "a signal has a value"),
            _ => {}
        }
    }

    async fn value(&self, signal: &Signal, slot: &str, ago: Duration) -> Answer {
        let deployment = &self.deployment;
        let versions = Versions::of(deployment);
        let query = match signal.query(&deployment.plan.group, &versions.values(slot)) {
            Ok(query) => query,
            Err(why) => return Answer::Nothing(why),
        };
        let limit = signal.timeout;
        match timeout(limit.get(), self.world.value(signal, &query, ago)).await {
            Ok(Ok(Some(value))) => Answer::Value(value),
            Ok(Ok(None)) => Answer::Nothing("the query has no result".to_owned()),
            Ok(Err(why)) => Answer::Nothing(why),
            Err(_) => Answer::Nothing(format!("no answer within {limit}")),
        }
    }

    /// When the new slot got its first traffic.
    pub(super) fn since_switch(&self, state: &State) -> Time {
        state.marks.as_ref().and_then(|marks| marks.since).unwrap_or(self.deployment.started)
    }
}

/// What a reason does not say: how many answers are synthetic, and the signals that it does not name. Good figures have all of it.
pub(super) fn figures_beside(reason: &Reason, watch: &Watch) -> String {
    let named = match reason {
        Reason::Outside { name, .. }
        | Reason::OutsideMissing { name, .. }
        | Reason::OutsideShort { name, .. } => name.as_str(),
        _ => "",
    };
    let others = watch.outside().filter(|figure| figure.name != named);
    of_them(watch.seen()) + &others.map(|figure| format!("; {figure}")).collect::<String>()
}
