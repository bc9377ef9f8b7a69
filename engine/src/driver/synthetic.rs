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
use crate::journal::Journal;
use crate::peers::{request, with_usual};
use crate::policy::SmokeRequest;
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
        let smoke = &self.deployment.policy.smoke;
        let requests = asked.requests(smoke, &Versions::of(&self.deployment).values(slot));
        let mut ticks = tokio::time::interval(asked.interval.get());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Ok(look) = self.look().await else { continue };
            let Some(slot) = look.group.slot(slot) else { continue };
            for (asked, pass) in &requests {
                join_all(slot.primaries().map(|peer| self.ask_one(asked, pass, &peer.address, results)))
                    .await;
            }
        }
    }

    async fn ask_one(&self, asked: &SmokeRequest, pass: &Range<u16>, address: &str, results: &Results) {
        let deployment = &self.deployment;
        let host = deployment.policy.host.as_deref().unwrap_or(&deployment.plan.group);
        let usual = [
            ("host", host),
            ("user-agent", "cutover-soak"),
            ("connection", "close"),
            ("x-cutover-synthetic", "1"),
        ];
        let headers = with_usual(&asked.headers, &usual);
        let body = asked.body.clone().map(String::into_bytes);
        let request = match request(&asked.method, asked.path.as_str(), &headers, body) {
            Ok(request) => request,
            // Nothing is sent, so it says nothing about the version.
            Err(error) => {
                return tracing::warn!(deployment = deployment.id, %error, "no synthetic request is sent");
            }
        };
        match self.world.ask(address, request, asked.timeout.get()).await {
            Ok(answer) if asked.expect.check(&answer, pass).is_ok() => results.good(),
            Ok(answer) => results.bad(Some(&answer)),
            Err(_) => results.bad(None),
        }
    }
}
