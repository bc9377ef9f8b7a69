//! The trial of a switch: renewed while the new version is watched, and ended when it is good.

use std::collections::{BTreeMap, BTreeSet};

use cutover_core::api::{TrialPhase, TrialState};
use cutover_core::deployment::{Event, State, TakenBackBy};
use tokio::time::Instant;

use super::work::Work;
use crate::edge::{Look, ShiftError};
use crate::fleet::View;
use crate::journal::Journal;
use crate::prober::Found;
use crate::shifting::PAUSE;
use crate::world::World;

impl<W: World, J: Journal> Work<W, J> {
    /// Renews the leases. A renewal that fails is tried again at the next reading: the lease covers many of them.
    pub(super) async fn renew(&self, view: &View) {
        let is_leased =
            |trial: &TrialState| trial.lease_left_ms.is_some() && trial.phase == TrialPhase::Armed;
        let leased = with_trial(view, is_leased);
        let Some(lease) = self.deployment.policy.trial.lease.filter(|_| !leased.is_empty()) else { return };
        let renewed = self.fleet().renew(&self.deployment.plan.group, lease.get(), &leased).await;
        for (edge, renewed) in renewed {
            if let Err(error) = renewed {
                tracing::warn!(deployment = self.deployment.id, edge, %error, "failed to renew the lease");
            }
        }
    }

    /// Ends a trial and lets the traffic stay. The error says why it goes on.
    pub(super) async fn end_trial(&self, view: &View, reason: &str) -> Result<(), String> {
        let on_trial = with_trial(view, |_| true);
        if on_trial.is_empty() {
            return Ok(());
        }
        let group = &self.deployment.plan.group;
        for (edge, ended) in self.fleet().confirm(group, reason, &on_trial, self.patience()).await {
            match ended {
                Ok(_) => {}
                // It has ended in memory, so it takes nothing back while nginx runs.
                Err(ShiftError::NotDurable(why)) => {
                    tracing::warn!(
                        deployment = self.deployment.id,
                        edge,
                        why,
                        "the end of a trial is not on disk"
                    );
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }

    /// The same for a slot that a probe found unhealthy while it was the way back.
    pub(super) async fn disarm(&self) -> Result<(), String> {
        let view = self.look().await.map_err(|error| error.to_string())?;
        self.end_trial(&view, "the old slot is not healthy").await
    }

    /// The event of a route that has moved since the switch, or whose trial is held.
    pub(super) async fn moved_or_held(&self, view: &View, state: &State) -> Option<Event> {
        match self.moved_since_switch(view, state).await {
            None => self.held(view).await,
            moved => moved,
        }
    }

    /// The event of a trial that should have ended, but whose fallback was failing too.
    async fn held(&self, view: &View) -> Option<Event> {
        let held = with_trial(view, |trial| trial.phase == TrialPhase::Held);
        let look = held.into_values().next()?;
        let trial = look.route().trial.as_ref()?;
        let mut text = describe(trial);
        for slot in [&trial.slot, &trial.fallback] {
            let Some(slot) = look.group.slot(slot) else { continue };
            let Found { healthy, servers, why } = self.prober().found(slot).await;
            let why = if why.is_empty() { why } else { format!(" ({why})") };
            text.push_str(&format!(
                "; slot \"{}\" has {healthy} of {servers} servers healthy{why}",
                slot.name
            ));
        }
        Some(Event::TrialHeld(text))
    }

    /// Makes the switch permanent. Of several edges, one that does not answer for longer than the others wait is left: it is
    /// repaired when it is back.
    pub(super) async fn confirm(&self, state: &State) -> Event {
        if let Err(event) = self.all_confirm(state).await {
            return event;
        }
        let begin = Instant::now();
        let mut confirmed = BTreeSet::new();
        loop {
            match self.confirm_once(state, &mut confirmed).await {
                Ok(()) => return Event::Confirmed,
                Err(Unconfirmed::Ended(event)) => return event,
                Err(Unconfirmed::Left(why)) if !self.fleet().is_several() => return Event::StepFailed(why),
                Err(Unconfirmed::Left(why)) if begin.elapsed() >= self.patience() => {
                    if confirmed.is_empty() {
                        return Event::StepFailed(why);
                    }
                    let message = format!("{why}; it stays behind, and follows when it answers");
                    self.note("confirming", &message).await;
                    return Event::Confirmed;
                }
                Err(Unconfirmed::Left(_)) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Confirms on all edges that are as this deployment has left them. Fails if one is missing.
    async fn confirm_once(&self, state: &State, confirmed: &mut BTreeSet<String>) -> Result<(), Unconfirmed> {
        let plan = &self.deployment.plan;
        let view = self.look().await.map_err(|error| Unconfirmed::Left(error.to_string()))?;
        let strays = self.strays(&view, state);
        if strays.len() == view.edges.len() || !strays.is_empty() && !self.fleet().is_several() {
            return Err(Unconfirmed::Ended(self.moved(&strays, state).await));
        }
        // The guard of one edge judges for all. A lease that has run out says only that the edge was away.
        if let Some(by) = strays.values().filter_map(|look| look.taken_back).max()
            && by == TakenBackBy::Guard
        {
            return Err(Unconfirmed::Ended(Event::TakenBack(by)));
        }
        if let Some(held) = self.held(&view).await {
            return Err(Unconfirmed::Ended(held));
        }
        let ours: BTreeMap<String, &Look> = view
            .edges
            .iter()
            .filter(|(edge, _)| !strays.contains_key(*edge))
            .map(|(edge, look)| (edge.clone(), look))
            .collect();
        let mut left = Vec::new();
        let reason = format!("deployment {} is good", self.deployment.id);
        for (edge, answer) in self.fleet().confirm(&plan.group, &reason, &ours, self.patience()).await {
            let seen = ours.get(&edge).map(|look| &look.revision);
            match answer {
                Ok(now) if Some(&now.revision) == seen => {
                    confirmed.insert(edge);
                }
                // The version is good. A power loss would bring the trial back, not the old version.
                Err(ShiftError::NotDurable(why)) => {
                    self.note("confirming", &format!("the end of the trial is not on disk: {why}")).await;
                    confirmed.insert(edge);
                }
                // A reply does not say who moved the route since. The next reading does.
                Ok(_) | Err(ShiftError::Moved(_)) => {
                    left.push((edge, "the route has just been moved".to_owned()))
                }
                Err(error) => left.push((edge, error.to_string())),
            }
        }
        left.extend(
            strays.keys().map(|edge| (edge.clone(), "its traffic is back on the old slot".to_owned())),
        );
        left.extend(view.away.iter().map(|(edge, error)| (edge.clone(), error.to_string())));
        left.retain(|(edge, _)| !confirmed.contains(edge));
        match left.first() {
            None => Ok(()),
            Some((edge, why)) if self.fleet().is_several() => {
                Err(Unconfirmed::Left(format!("edge \"{edge}\" has not confirmed the switch: {why}")))
            }
            Some((_, why)) => Err(Unconfirmed::Left(why.clone())),
        }
    }
}

/// Why not all edges have confirmed.
enum Unconfirmed {
    /// The phase ends by this event.
    Ended(Event),
    /// An edge is left. A later try may succeed.
    Left(String),
}

/// The edges with a trial of this kind.
fn with_trial(view: &View, is_such: impl Fn(&TrialState) -> bool) -> BTreeMap<String, &Look> {
    let has_such = |look: &Look| look.route().trial.as_ref().is_some_and(&is_such);
    let edges = view.edges.iter().filter(|(_, look)| has_such(look));
    edges.map(|(edge, look)| (edge.clone(), look)).collect()
}

fn describe(trial: &TrialState) -> String {
    let TrialState { slot, fallback, figures, .. } = trial;
    format!(
        "the traffic should have gone back to slot \"{fallback}\", but it was failing too, so it stays on \"{slot}\": \
         {} of its last {} requests failed; once \"{fallback}\" is healthy again, go back by hand",
        figures.errors, figures.requests
    )
}
