//! Requests of the daemon itself to the new slot, so that a quiet site has something to judge by.
//!
//! They are counted like an edge of its own, beside what nginx counts. nginx does not see them.

use std::ops::Range;

use cutover_core::verdict::EdgeReading;
use cutover_core::verdict::evidence::Evidence;
use cutover_core::verdict::reading::SYNTHETIC;
use futures_util::future::join_all;
use tokio::time::MissedTickBehavior;

use super::work::Work;
use crate::asking::Agent;
use crate::journal::Journal;
use crate::peers::CheckError;
use crate::policy::{Check, Duration};
use crate::versions::Versions;
use crate::world::World;

pub(super) mod results;

use results::Results;

/// How many of the answers are synthetic, for the end of a reason. Empty if none is.
pub(super) fn of_them(seen: &Evidence) -> String {
    match seen.synthetic {
        0 => String::new(),
        synthetic => format!("; {} answers, {synthetic} of them synthetic", seen.answers().of),
    }
}

impl<W: World, J: Journal> Work<W, J> {
    /// The results as a reading of an edge. `None`: the policy has no synthetic requests.
    pub(super) fn counted_synthetically(&self, results: &Results) -> Option<EdgeReading> {
        self.deployment.policy.soak.synthetic.as_ref()?;
        Some(EdgeReading { edge: SYNTHETIC.to_owned(), new: Some(results.sample().clone()), old: None })
    }

    /// Sends the synthetic requests of the policy. Never ends.
    pub(super) async fn ask_synthetically(&self, results: &Results) {
        let slot = &self.deployment.plan.to;
        let Some(asked) = &self.deployment.policy.soak.synthetic else { return std::future::pending().await };
        let checks = asked.checks(&self.deployment.policy.smoke, &self.deployment.policy.probe);
        let mut ticks = tokio::time::interval(asked.interval.get());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // While the edge does not answer, the last known servers are asked, as by probes.
            let group = self.look().await.ok().map(|look| look.group).or_else(|| self.seen.lock().clone());
            let Some(slot) = group.as_ref().and_then(|group| group.slot(slot)) else { continue };
            for check in &checks {
                join_all(slot.primaries().map(|peer| self.ask_one(check, &peer.address, results))).await;
            }
        }
    }

    async fn ask_one(
        &self,
        (check, limit, pass): &(Check, Duration, Range<u16>),
        address: &str,
        results: &Results,
    ) {
        let versions = Versions::of(&self.deployment);
        let asked = self.asking(&versions, Agent::Soak, pass).ask(check, address, None, limit.get()).await;
        match (&asked.verdict, &asked.reply) {
            (Ok(()), _) => results.good(),
            (Err(_), Ok(_)) => results.bad(asked.answer()),
            // Nothing is sent, so it says nothing about the version.
            (Err(why), Err(CheckError::Invalid(_))) => {
                tracing::warn!(deployment = self.deployment.id, why, "no synthetic request is sent");
            }
            (Err(_), Err(_)) => results.bad(None),
        }
    }
}
