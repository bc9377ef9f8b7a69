//! The route moves forward and back here.
//!
//! A switch whose reply was lost must not take effect after the rollback. So each move back is a fence: it changes the
//! revision even if the route is already on the old slot.

use std::collections::BTreeMap;
use std::time::Duration;

use cutover_core::deployment::{CauseKind, Event, Mark, Marks, Now, Old, State, WayBack};
use cutover_core::verdict::evidence::Evidence;
use cutover_core::verdict::{Baseline, EdgeReading, Reading, Sample};

use super::together::JustChecked;
use super::whereabouts::{BACK, mark};
use super::work::Work;
use crate::capacity;
use crate::edge::{Look, Partial, Shift, TrialTerms};
use crate::fleet::{FleetRequest, FleetShifted, View};
use crate::journal::Journal;
use crate::metrics;
use crate::peers::Peers;
use crate::prober::{Found, Prober};
use crate::shifting::{Fit, PAUSE};
use crate::world::World;

/// Maximum number of tries of one switch.
const MOST_TRIES: u32 = 8;

/// What the edge's log calls a change that gives the new slot traffic.
pub(super) const FORWARD: &str = "deployment";

impl<W: World, J: Journal> Work<W, J> {
    /// Reads the route and both slots before the switch. A paused deployment stops here.
    pub(super) async fn read_route(&self, state: &State) -> Event {
        if state.paused.is_some() {
            return Event::NotSwitched(self.new_slot_sick().await);
        }
        if self.others.is_some() {
            tokio::select! {
                biased;
                () = self.all_here() => {}
                why = self.new_slot_sick() => return Event::NotSwitched(why),
            }
        }
        let plan = &self.deployment.plan;
        let is_fit = |look: &&Look| {
            let route = look.route();
            route.active == plan.from && route.routes_to(&plan.to).is_none()
        };
        let begin = tokio::time::Instant::now();
        let view = loop {
            let view = match self.look_at_all_patiently().await {
                Ok(view) => view,
                Err(error) => return Event::NotSwitched(error.to_string()),
            };
            let fit = view.edges.values().filter(is_fit).count();
            let Some(other) = view.edges.values().find(|look| !is_fit(look)) else { break view };
            // One edge of several that is not as the others are is about to be repaired.
            if fit == 0 || begin.elapsed() >= self.patience() {
                return Event::RouteMoved(other.moved());
            }
            tokio::time::sleep(PAUSE).await;
        };
        let group = &view.group;
        let mut edges = BTreeMap::new();
        for (edge, look) in &view.edges {
            let (Some(old), Some(new)) = (look.group.slot(&plan.from), look.group.slot(&plan.to)) else {
                let missing = if look.group.slot(&plan.to).is_none() { &plan.to } else { &plan.from };
                let group = &plan.group;
                return Event::NotSwitched(format!(
                    "edge \"{edge}\": group \"{group}\" has no slot \"{missing}\""
                ));
            };
            let mark = Mark {
                expected: look.revision.clone(),
                switched: None,
                moved: false,
                old: Some(Sample::from(old)),
                baseline: Sample::from(new),
            };
            edges.insert(edge.clone(), mark);
        }
        let served = view.counted_since(&plan.from, |edge| Some(&plan.served.get(edge)?.counters));
        let known = self.known(&view);
        let Found { healthy, servers, .. } = match self.prober().look(group, &plan.from, is_whole).await {
            Ok(found) => found,
            Err(why) => return Event::NotSwitched(why),
        };
        let old = Old { servers, healthy, served };
        Event::RouteRead(Box::new(Marks { edges, old, known, since: None }))
    }

    /// What the old slot did in the last minutes before the deployment, and has done since its start.
    fn known(&self, view: &View) -> Evidence {
        let plan = &self.deployment.plan;
        let mut baseline = Baseline::default();
        let took = self.deployment.started.until(self.clock.now());
        let at_start = plan.served.iter().map(|(edge, served)| EdgeReading {
            edge: edge.clone(),
            new: None,
            old: Some(served.clone()),
        });
        baseline.observe(&Reading { at: Duration::ZERO, split: false, edges: at_start.collect() });
        baseline.observe(&Reading { at: took, split: false, edges: view.readings(None, Some(&plan.from)) });
        let mut known = plan.known.clone();
        known.add(baseline.evidence());
        known
    }

    /// Gives the new slot the traffic of the step.
    pub(super) async fn switch(&self, state: &State) -> Event {
        self.begin_figures(state);
        let plan = &self.deployment.plan;
        let share = self.share(state);
        let shift = Shift { share, trial: self.trial(state), ..self.shift_to(&plan.to, FORWARD, false) };
        let marks = state.marks.iter().flat_map(|marks| &marks.edges);
        let expected = marks.map(|(edge, mark)| (edge.clone(), mark.expected.clone())).collect();
        let request = FleetRequest {
            group: &plan.group,
            shift: &shift,
            expected: &expected,
            tries: MOST_TRIES,
            patience: self.patience(),
        };
        let still_healthy = StillHealthy { prober: self.prober(), from: &plan.from, slot: &plan.to };
        let moved = if self.others.is_some() {
            let at = match self.all_proven(&request, state, &still_healthy).await {
                Ok(at) => at,
                Err(event) => return event,
            };
            self.fleet().forward(&request, &JustChecked { fit: still_healthy, at }).await
        } else {
            self.fleet().forward(&request, &still_healthy).await
        };
        match moved {
            FleetShifted::Done(now) => {
                metrics::switched(&plan.group, "forward");
                let revisions = now.into_iter().map(|(edge, look)| (edge, look.revision));
                Event::Switched { revisions: revisions.collect() }
            }
            FleetShifted::NotDone(why) => Event::NotSwitched(why),
            FleetShifted::Elsewhere(looks) => self.moved(&looks, state).await,
            FleetShifted::NotDurable(why) | FleetShifted::Uncertain(why) => {
                Event::SwitchUncertain(format!("the switch could not be confirmed: {why}"))
            }
        }
    }

    /// Probes the old slot and moves the route back to it.
    pub(super) async fn switch_back(&self, state: &State) -> Event {
        match self.way_back(state).await {
            Ok(view) => self.move_back(&view, state).await,
            Err(event) => event,
        }
    }

    /// Returns the group if its traffic can go back or is already back. Otherwise returns the event.
    async fn way_back(&self, state: &State) -> Result<View, Event> {
        let plan = &self.deployment.plan;
        let look = self.look_once().await?;
        if look.route().is_all_on(&plan.from) {
            return self.taken_back_to(state, look).await;
        }
        let is_ours = look.route().active == plan.to || look.route().share(&plan.to).is_some();
        let new = match look.group.slot(&plan.to) {
            Some(new) if is_ours => new,
            _ => return Err(Event::RouteMoved(look.moved())),
        };
        let is_asked = state.phase.cause().is_some_and(|cause| cause.kind == CauseKind::Operator);
        // The old slot has most of the users already, and an operator wants the share of a step to go there, too. Good answers to
        // them prove more than a probe that fails.
        if is_asked && look.route().active == plan.from && self.serves(&look, &plan.from).await {
            return Ok(look);
        }
        let old_before = state.marks.clone().unwrap_or_default().old;
        let prober = self.prober();
        let new_healthy = prober.found(new).await.healthy;
        // A rollback by an operator or after an uncertain switch is not a verdict on the new version.
        let is_verdict = state.phase.cause().is_some_and(|cause| cause.kind.is_verdict());
        let baseline = |edge: &str| Some(&mark(state, edge)?.baseline.counters);
        let since_switch = is_verdict.then(|| look.counted_since(&plan.to, baseline));
        let judged = |old: &Found, lately| {
            let (old_servers, old_healthy) = (old.servers, old.healthy);
            old_before.way_back(&Now { old_servers, old_healthy, new_healthy, since_switch, lately })
        };
        // A trial would move the traffic to the old slot while its probes fail. The daemon decides from here on.
        let first = match look.group.slot(&plan.from) {
            Some(old) => prober.found(old).await,
            None => Found::default(),
        };
        if judged(&first, None) != WayBack::Open {
            self.end_trial(&look, "the old slot is no way back").await.map_err(Event::StepFailed)?;
        }
        let looked = prober.look(&look.group, &plan.from, |old| judged(old, None) != WayBack::Sick).await;
        let old = looked.map_err(Event::OldSick)?;
        let mut found = judged(&old, None);
        if found != WayBack::Open && is_verdict {
            // The new slot may serve users worse now than on average since the switch.
            tokio::time::sleep(self.deployment.policy.soak.interval.get()).await;
            let again = self.look_once().await?;
            let lately = again.group.slot(&plan.to).map(|now| now.counters.since(&new.counters));
            found = judged(&old, lately);
        }
        match found {
            WayBack::Open => Ok(look),
            WayBack::Sick => Err(Event::OldSick(old.why)),
            WayBack::Worse(why) => Err(Event::OldWorse(why)),
        }
    }

    /// Whether a slot gives good answers to users now.
    async fn serves(&self, before: &View, slot: &str) -> bool {
        tokio::time::sleep(self.deployment.policy.soak.interval.get()).await;
        let good = |look: &View| {
            let counters = look.group.slot(slot).map(|slot| slot.counters).unwrap_or_default();
            counters.answered().saturating_sub(counters.errors())
        };
        self.look().await.is_ok_and(|now| good(&now) > good(before))
    }

    /// The edge does not probe. What it moved the traffic to must be healthy before anything is undone.
    async fn taken_back_to(&self, state: &State, look: View) -> Result<View, Event> {
        let is_known = state.phase.cause().is_some_and(|cause| cause.kind == CauseKind::TakenBack);
        match look.edges.values().filter_map(|look| look.taken_back).max() {
            Some(by) if !is_known => return Err(Event::TakenBack(by)),
            None if !is_known => return Ok(look),
            _ => {}
        }
        let old = state.marks.clone().unwrap_or_default().old;
        let is_as_before = |found: &Found| old.is_as_before(found.healthy, found.servers);
        let found = self.prober().look(&look.group, &self.deployment.plan.from, is_as_before).await;
        match found.map_err(Event::OldSick)? {
            found if is_as_before(&found) => Ok(look),
            found => Err(Event::OldSick(found.why)),
        }
    }

    async fn look_once(&self) -> Result<View, Event> {
        let looked = self.fleet().look_quickly(&self.deployment.plan.group).await;
        looked.map_err(|error| Event::StepFailed(error.to_string()))
    }

    async fn move_back(&self, seen: &View, state: &State) -> Event {
        let plan = &self.deployment.plan;
        let fleet = self.fleet();
        let shift = self.shift_to(&plan.from, BACK, true);
        let is_back = seen.route().is_all_on(&plan.from);
        let mut failed = Vec::new();
        for (edge, moved) in fleet.back(&plan.group, &shift, seen, self.patience()).await {
            match moved {
                Ok(now) if now.route().is_all_on(&plan.from) => {}
                Ok(now) => return Event::RouteMoved(now.moved()),
                Err(_) if self.lease_is_over(&edge, state) => {
                    let message = format!(
                        "edge \"{edge}\" does not answer; its lease is over, so it has moved its traffic back by itself"
                    );
                    self.note(state.phase.name(), &message).await;
                }
                Err(error) => failed.push(match fleet.is_several() {
                    true => format!("edge \"{edge}\": {error}"),
                    false => error.to_string(),
                }),
            }
        }
        if failed.is_empty() {
            if !is_back {
                metrics::switched(&plan.group, "back");
            }
            return Event::SwitchedBack;
        }
        let failed = failed.join("; ");
        Event::StepFailed(match is_back && seen.away.is_empty() {
            true => format!(
                "slot \"{}\" has all the traffic, but it is not certain that this stays so: {failed}",
                plan.from
            ),
            false => failed,
        })
    }

    /// Whether an edge of several has been away for so long that its lease has moved the traffic back.
    fn lease_is_over(&self, edge: &str, state: &State) -> bool {
        let lease = self.trial(state).and_then(|terms| terms.lease);
        let away = self.fleet().away_for(edge).filter(|_| self.fleet().is_several());
        lease.zip(away).is_some_and(|(lease, away)| away > lease)
    }

    pub(super) fn shift_to(&self, slot: &str, what: &str, fence: bool) -> Shift {
        let reason = format!("{} of version \"{}\"", self.reason(what), self.deployment.version);
        Shift { to: slot.to_owned(), share: None, reason, trial: None, fence }
    }

    /// The beginning of the reason that the edge keeps for a change by this deployment.
    pub(super) fn reason(&self, what: &str) -> String {
        format!("{what} {}", self.deployment.id)
    }

    /// The share of the step. `None`: all of the traffic.
    pub(super) fn share(&self, state: &State) -> Option<Partial> {
        let plan = &self.deployment.plan;
        let step = plan.steps.get(state.step)?;
        Some(Partial { percent: step.share, rest: plan.from.clone() })
    }

    /// The terms of the switch. A slot that was not there before is nothing to go back to.
    fn trial(&self, state: &State) -> Option<TrialTerms> {
        let old = state.marks.as_ref().map(|marks| marks.old).filter(Old::was_there)?;
        let policy = &self.deployment.policy;
        let trial = policy.trial;
        let terms = TrialTerms {
            lease: trial.lease.map(|lease| lease.get()),
            guard: trial.guard.terms(policy.soak.max_errors(), &old.served),
            rescue: policy.rescues(),
        };
        Some(terms).filter(|terms| terms.is_armed() && self.fleet().abilities().trials)
    }
}

/// Verifies before each try that the new slot is still healthy, and large enough for the users of the old one.
struct StillHealthy<'a, W> {
    prober: Prober<'a, W>,
    from: &'a str,
    slot: &'a str,
}

impl<W: Peers> Fit for StillHealthy<'_, W> {
    async fn check(&self, look: &Look) -> Result<(), String> {
        let verified = self.prober.verify(&look.group, self.slot).await;
        verified.map_err(|why| format!("slot \"{}\" is no longer healthy: {why}", self.slot))?;
        let rounds = self.prober.policy.probe.unhealthy.get();
        capacity::check(&self.prober, &look.group, (self.from, self.slot), rounds).await
    }
}

/// Whether all servers of a slot are healthy.
fn is_whole(found: &Found) -> bool {
    found.healthy == found.servers
}
