//! The edge of the world: reads a group and moves its route, with the faults of the scene.

use std::time::Duration;

use cutover_core::api::{Group, Peer, RouteState, Slot, TrialPhase, TrialState};
use cutover_core::counters::Counters;
use cutover_core::deployment::{Revision, TakenBackBy};
use cutover_core::fraction::Percent;
use cutover_core::guard::Figures;
use tokio::time::Instant;

use super::scene::{Away, Fault, Late, Scene};
use super::world::ScriptedEdge;
use crate::edge::{Abilities, Edge, EdgeError, Follow, Look, Shift, ShiftError};

impl Edge for ScriptedEdge {
    fn name(&self) -> &str {
        &self.name
    }

    fn abilities(&self) -> Abilities {
        let scene = self.scene();
        Abilities {
            follow: Follow::AtOnce,
            trials: scene.trials,
            counters: scene.counts,
            shares: scene.shares,
        }
    }

    async fn groups(&self) -> Result<Vec<Group>, EdgeError> {
        let look = self.look("shop").await?;
        Ok([look.group].into_iter().chain(self.scene().others.clone()).collect())
    }

    async fn look(&self, _: &str) -> Result<Look, EdgeError> {
        self.takes_its_time().await;
        self.answers(None).await?;
        let mut scene = self.scene();
        if scene.fails("group") { Err(unreachable()) } else { Ok(scene.look()) }
    }

    async fn stand_by(&self, _: &str, slot: &str) -> Result<(), EdgeError> {
        self.answers(None).await?;
        self.scene().standby = Some(slot.to_owned());
        Ok(())
    }

    async fn shift(&self, _: &str, shift: &Shift, expected: &Revision) -> Result<Look, ShiftError> {
        self.takes_its_time().await;
        let generation = generation(expected);
        let late = Late::Shift(Box::new(shift.clone()));
        self.answers(Some((late, generation))).await.map_err(ShiftError::NotSent)?;
        self.scene().shift(shift, generation)
    }

    async fn renew(&self, _: &str, lease: Duration, expected: &Revision) -> Result<Look, ShiftError> {
        self.takes_its_time().await;
        let late = (Late::Renewal(lease), generation(expected));
        self.answers(Some(late)).await.map_err(ShiftError::NotSent)?;
        let mut scene = self.scene();
        scene.renewal_fault()?;
        scene.renew(lease, generation(expected))
    }

    async fn confirm(&self, _: &str, _: &str, expected: &Revision) -> Result<Look, ShiftError> {
        self.takes_its_time().await;
        let late = (Late::Confirmation, generation(expected));
        self.answers(Some(late)).await.map_err(ShiftError::NotSent)?;
        let mut scene = self.scene();
        if scene.fails("confirm") {
            return Err(ShiftError::NotSent(unreachable()));
        }
        scene.confirm(generation(expected))
    }
}

impl ScriptedEdge {
    async fn takes_its_time(&self) {
        let delay = self.scene().delay;
        tokio::time::sleep(delay).await;
    }

    /// Fails, or never ends, while the edge is away. A call that a paused edge has got is kept.
    async fn answers(&self, call: Option<(Late, u32)>) -> Result<(), EdgeError> {
        let away = self.scene().away;
        match away {
            None => Ok(()),
            Some(Away::Down | Away::Cut) => Err(unreachable()),
            Some(Away::Paused) => {
                self.scene().late.extend(call);
                std::future::pending().await
            }
        }
    }
}

impl Scene {
    /// Number of calls in transit.
    pub fn in_transit(&self) -> usize {
        self.late.len()
    }

    /// Delivers the calls in transit.
    pub fn deliver(&mut self) {
        for (call, expected) in std::mem::take(&mut self.late) {
            let _ = match call {
                Late::Shift(change) => self.shift(&change, expected),
                Late::Renewal(lease) => self.renew(lease, expected),
                Late::Confirmation => self.confirm(expected),
            };
        }
    }

    /// Lets the edge answer again. It gets what it has missed first.
    pub fn back(&mut self) {
        self.away = None;
        self.deliver();
    }

    fn renew(&mut self, lease: Duration, expected: u32) -> Result<Look, ShiftError> {
        self.must_be_at(expected)?;
        if self.lease.is_some() {
            self.lease = Some(Instant::now() + lease);
        }
        Ok(self.look())
    }

    fn confirm(&mut self, expected: u32) -> Result<Look, ShiftError> {
        self.must_be_at(expected)?;
        self.trial = None;
        self.lease = None;
        Ok(self.look())
    }

    fn serve_users(&mut self) {
        let all = self.traffic;
        let part =
            self.split.clone().map(|(slot, percent)| (slot, all * u64::from(percent.parts()) / 10_000));
        let rest = all - part.as_ref().map_or(0, |(_, part)| *part);
        for (slot, requests) in part.into_iter().chain([(self.active.clone(), rest)]) {
            self.serve(&slot, requests);
        }
    }

    /// Answers requests of users from a slot.
    fn serve(&mut self, slot: &str, requests: u64) {
        let running = self.running.get(slot);
        let bad = running.is_none() || running == self.bad_version.as_ref();
        let counters = self.counters.entry(slot.to_owned()).or_default();
        let turned = self
            .bad_after
            .as_ref()
            .is_some_and(|(version, answers)| running == Some(version) && counters.requests >= *answers);
        counters.requests += requests;
        counters.attempts += requests;
        let share = |of: &Option<(String, u64)>| {
            let of = of.as_ref().filter(|(version, _)| running == Some(version));
            of.map_or(0, |(_, percent)| *percent)
        };
        let percent =
            if bad || turned { 100 } else { self.errors_of_both.unwrap_or_else(|| share(&self.errors)) };
        let answered = requests - requests * share(&self.hangs) / 100;
        let errors = answered * percent / 100;
        let not_found = (answered - errors) * share(&self.not_found) / 100;
        counters.responses.server_error += errors;
        counters.responses.client_error += not_found;
        counters.responses.success += answered - errors - not_found;
    }

    fn look(&mut self) -> Look {
        let group = self.group();
        Look {
            revision: revision(group.route.generation),
            follows: Some(revision(group.route.generation - 1)),
            taken_back: self.taken_back,
            reason: self.reason.clone(),
            group,
        }
    }

    /// A fault of the next switch hits a renewal too.
    fn renewal_fault(&mut self) -> Result<(), ShiftError> {
        if self.switch_faults.is_empty() {
            return Ok(());
        }
        Err(match self.switch_faults.remove(0) {
            Fault::NotSent => ShiftError::NotSent(unreachable()),
            Fault::Refused => ShiftError::Refused("the scripted edge refuses: read only".to_owned()),
            Fault::NotDurable => {
                ShiftError::NotDurable("the scripted edge could not write it: disk full".to_owned())
            }
            Fault::LostDone | Fault::LostUndone | Fault::Late | Fault::OtherFirst => {
                ShiftError::Unknown(unreachable())
            }
        })
    }

    /// Fails if the route has moved since a reading of this revision.
    fn must_be_at(&mut self, expected: u32) -> Result<(), ShiftError> {
        self.end_lease();
        if expected == self.generation { Ok(()) } else { Err(ShiftError::Moved(Box::new(self.look()))) }
    }

    /// Moves the traffic back if the lease is over. A reading of the group does so, too.
    pub fn end_lease(&mut self) {
        if self.lease.is_none_or(|end| Instant::now() < end) {
            return;
        }
        let Some(trial) = self.trial.clone() else { return };
        if !self.healthy(&trial.fallback) && self.sick_probes > 5 {
            self.violations
                .push(format!("the lease moved traffic to {}, which is not healthy", trial.fallback));
        }
        self.moves.push(format!("{}->{}", trial.slot, trial.fallback));
        self.move_route(&trial.fallback);
        self.taken_back = Some(TakenBackBy::Lease);
    }

    fn group(&mut self) -> Group {
        self.end_lease();
        if let Some((reads, to)) = &mut self.moved_after {
            *reads = reads.saturating_sub(1);
            if *reads == 0 {
                let to = to.clone();
                self.move_route(&to);
                self.moved_after = None;
            }
        }
        if let Some(reads) = self.taken_back_after.as_mut().filter(|_| self.active == "green") {
            *reads = reads.saturating_sub(1);
            if *reads == 0 {
                self.taken_back_after = None;
                self.move_route("blue");
                self.taken_back = Some(self.takes_back_by);
            }
        }
        self.serve_users();
        let slot = |(name, peers): &(String, Vec<Peer>)| {
            let (held, upgraded) = self.held_by(name);
            Slot {
                name: name.clone(),
                upstream: format!("shop_{name}"),
                peers: peers.clone(),
                counters: Counters {
                    in_flight: if self.active == *name { self.traffic } else { held },
                    ..self.counters.get(name).copied().unwrap_or_default()
                },
                upgraded,
                previews: self.previews_of(name),
                ..Slot::default()
            }
        };
        let split = self.split.as_ref().map(|(second, percent)| {
            let rest = Percent::from_parts(10_000 - percent.parts()).unwrap();
            [(self.active.clone(), rest), (second.clone(), *percent)].into()
        });
        Group {
            name: "shop".to_owned(),
            route: RouteState {
                active: self.active.clone(),
                generation: self.generation,
                split,
                trial: self.trial.clone(),
                standby: self.standby.clone().filter(|slot| *slot != self.active),
            },
            slots: self.slots.iter().map(slot).collect(),
            events: Vec::new(),
        }
    }

    fn shift(&mut self, change: &Shift, expected: u32) -> Result<Look, ShiftError> {
        let to = change.to.as_str();
        let fault = if self.switch_faults.is_empty() { None } else { Some(self.switch_faults.remove(0)) };
        match fault {
            Some(Fault::NotSent) => return Err(ShiftError::NotSent(unreachable())),
            Some(Fault::LostUndone) => return Err(ShiftError::Unknown(unreachable())),
            Some(Fault::Late) => {
                self.late.push((Late::Shift(Box::new(change.clone())), expected));
                return Err(ShiftError::Unknown(unreachable()));
            }
            Some(Fault::Refused) => {
                return Err(ShiftError::Refused("the scripted edge refuses: read only".to_owned()));
            }
            Some(Fault::OtherFirst) => {
                self.move_route("green");
                self.move_route("blue");
            }
            _ => {}
        }
        if expected != self.generation {
            return Err(ShiftError::Moved(Box::new(self.look())));
        }
        if let Some(share) = &change.share {
            self.must_be_healthy(to);
            // A fence moves nothing.
            if self.active != share.rest || self.split != Some((to.to_owned(), share.percent)) {
                self.moves.push(format!("{}->{} {to}", share.rest, share.percent));
            }
            self.move_route(&share.rest);
            self.split = Some((to.to_owned(), share.percent));
            self.put_on_trial(change, share.rest.clone());
        } else if self.active == to && change.fence && change.trial.is_some() {
            // The trial goes on under a new generation.
            let Some(trial) = self.trial.clone().filter(|trial| trial.slot == to) else {
                return Err(ShiftError::Refused("the scripted edge refuses: bad trial".to_owned()));
            };
            self.move_route(to);
            self.put_on_trial(change, trial.fallback);
        } else if self.active == to && self.split.is_none() && change.trial.is_some() {
            return Err(ShiftError::Refused("the scripted edge refuses: bad trial".to_owned()));
        } else if self.active == to && (self.split.is_some() || self.trial.is_some()) {
            if let Some((slot, _)) = self.split.clone() {
                self.moves.push(format!("{slot}->{to}"));
            }
            self.move_route(to);
        } else if self.active != to {
            self.must_be_healthy(to);
            let fallback = self.active.clone();
            self.moves.push(format!("{fallback}->{to}"));
            self.move_route(to);
            self.put_on_trial(change, fallback);
            self.after_switch();
        } else if change.fence {
            self.generation += 1;
        }
        self.reason = Some(change.reason.clone());
        match fault {
            Some(Fault::LostDone) => Err(ShiftError::Unknown(unreachable())),
            Some(Fault::NotDurable) => {
                Err(ShiftError::NotDurable("the scripted edge could not write it: disk full".to_owned()))
            }
            _ if self.active == "green" && std::mem::take(&mut self.taken_back_in_reply) => {
                self.moves.push("green->blue".to_owned());
                self.move_route("blue");
                let reply = self.look();
                self.taken_back = Some(TakenBackBy::Guard);
                Ok(reply)
            }
            _ => Ok(self.look()),
        }
    }
}

impl Scene {
    fn must_be_healthy(&mut self, slot: &str) {
        if !self.healthy(slot) {
            self.violations.push(format!("traffic was moved to {slot}, which is not healthy"));
        }
    }

    /// What a test lets happen when green has all the traffic.
    fn after_switch(&mut self) {
        if self.active == "green" {
            if let Some(slot) = self.sick_after_switch.take() {
                self.sick.push(slot);
            }
            self.dead.append(&mut self.dead_after_switch);
            let blind = std::mem::take(&mut self.blind_after_switch);
            self.fail("group", blind);
        }
    }

    fn put_on_trial(&mut self, change: &Shift, fallback: String) {
        let Some(terms) = change.trial else { return };
        self.lease = terms.lease.map(|lease| Instant::now() + lease);
        self.trial = Some(TrialState {
            slot: change.to.clone(),
            fallback,
            phase: TrialPhase::Armed,
            guard: terms.guard,
            lease_left_ms: terms.lease.map(|_| 1_000),
            rescue: terms.rescue,
            figures: Figures::default(),
        });
    }
}

fn revision(generation: u32) -> Revision {
    Revision::new(format!("generation {generation}"))
}

fn generation(expected: &Revision) -> u32 {
    expected.as_str().trim_start_matches("generation ").parse().unwrap()
}

fn unreachable() -> EdgeError {
    EdgeError::Unreachable {
        subject: "the scripted edge",
        address: "unix:/edge".to_owned(),
        why: "connection refused".to_owned(),
    }
}
