//! Changes of the route: asked first, written, and waited for.

use std::time::Duration;

use cutover_core::deployment::{Revision, TakenBackBy};
use cutover_engine::edge::{EdgeError, Look, Shift, ShiftError};
use cutover_engine::journal::JournalError;
use tokio::time::Instant;

use super::readings::{Progress, Readings};
use super::{IngressNginxEdge, PATIENCE, PAUSE, next_seq, revision, unwritten};
use crate::agent;
use crate::edge::errors::API;
use crate::edge::{backends, service};
use crate::resource::{PendingRoute, RouteStatus};

/// What one nginx has taken back.
#[derive(Clone, Debug)]
pub(super) struct Back {
    /// The Pod.
    pub(super) pod: String,
    /// By which rule.
    pub(super) by: TakenBackBy,
    /// The slot that has the traffic there.
    pub(super) active: String,
}

impl IngressNginxEdge {
    /// Moves the route from the expected revision. A change that gives a slot more traffic is asked first; a way back is not.
    pub(super) async fn change(&self, shift: &Shift, expected: &Revision) -> Result<Look, ShiftError> {
        let readings = self.readings().await.map_err(ShiftError::NotSent)?;
        let route = self.route(&readings).await.map_err(ShiftError::NotSent)?;
        if revision(route.seq) != *expected || readings.taken_back(&route).is_some() {
            let now = self.read().await.map_err(ShiftError::NotSent)?;
            return Err(ShiftError::Moved(Box::new(now)));
        }
        let seq = next_seq(&self.ledger.status().await);
        let next = route.after(shift, seq, self.ledger.epoch());
        if next.is_same(&route) && !shift.fence && route.trial.is_none() && next.trial.is_none() {
            return self.until_applied(&route).await;
        }
        if !shift.fence {
            self.ask(&route, &next, &shift.to).await?;
        }
        let (mut is_written, after) = (false, next.clone());
        let written = self.ledger.write(|status| {
            if status.route.as_ref().map(|route| route.seq) == Some(route.seq) {
                status.last_seq = status.last_seq.max(Some(after.seq));
                status.route = Some(after);
                status.pending = None;
                is_written = true;
            }
        });
        match written.await {
            Ok(()) if is_written => {}
            Ok(()) => {
                let now = self.read().await.map_err(ShiftError::NotSent)?;
                return Err(ShiftError::Moved(Box::new(now)));
            }
            Err(error @ JournalError::Closed(_)) => return Err(ShiftError::NotSent(unwritten(&error))),
            Err(error) => return Err(ShiftError::Unknown(unwritten(&error))),
        }
        let look = self.until_applied(&next).await?;
        self.finish(&next, &shift.reason).await;
        Ok(look)
    }

    /// Ends the trial of a change: it stays.
    pub(super) async fn end_trial(&self, seq: i64) -> Result<Look, ShiftError> {
        let mut ended = None;
        let written = self.ledger.write(|status| {
            if let Some(route) = status.route.as_mut().filter(|route| route.seq == seq) {
                route.trial = None;
                ended = Some(route.clone());
            }
        });
        written.await.map_err(|error| ShiftError::Unknown(unwritten(&error)))?;
        let Some(route) = ended else {
            let now = self.read().await.map_err(ShiftError::NotSent)?;
            return Err(ShiftError::Moved(Box::new(now)));
        };
        let look = self.until_applied(&route).await?;
        self.finish(&route, "the change is confirmed").await;
        Ok(look)
    }

    /// Takes back everywhere what one nginx has taken back.
    pub(super) async fn take_back(&self, route: &RouteStatus, back: &Back) -> Result<RouteStatus, EdgeError> {
        let mut now = route.clone();
        let written = self.ledger.write(|status| {
            if status.route.as_ref().map(|route| route.seq) == Some(route.seq) {
                let seq = next_seq(status);
                status.last_seq = Some(seq);
                status.pending = None;
                status.route = Some(RouteStatus {
                    seq,
                    epoch: status.epoch,
                    active: back.active.clone(),
                    taken_back: Some(back.by),
                    reason: format!(
                        "the {} of nginx in Pod \"{}\" has taken the traffic back",
                        back.by, back.pod
                    ),
                    follows: Some(route.seq),
                    ..RouteStatus::default()
                });
            }
            if let Some(route) = &status.route {
                now = route.clone();
            }
        });
        written.await.map_err(|error| unwritten(&error))?;
        Ok(now)
    }

    /// Waits until every nginx that users reach has the endpoints of a slot's Service, and no others: ingress-nginx gives them to
    /// its nginx some seconds late. What is probed after that is what users would get. Fails if one has others for too long. One
    /// that does not have all of them does not matter yet: it is asked before a change is made.
    pub async fn until_given(&self, slot: &str) -> Result<(), EdgeError> {
        let Some(service) = self.names.service_of(slot) else { return Ok(()) };
        let begin = Instant::now();
        loop {
            let given = match backends(self.watched.client(), &self.names, service).await {
                Ok(endpoints) => {
                    let servers = endpoints.peers().into_iter().map(|peer| peer.address).collect();
                    self.readings().await.map(|readings| readings.given(slot, &servers))
                }
                Err(error) => Err(error),
            };
            let is_over = begin.elapsed() >= PATIENCE;
            match given {
                Ok(Progress::All) => return Ok(()),
                Ok(Progress::Waits(why)) if is_over => {
                    tracing::warn!(
                        group = self.names.group,
                        slot,
                        why,
                        "not every nginx has the servers of the slot"
                    );
                    return Ok(());
                }
                Ok(Progress::Refused(why)) if is_over => {
                    return Err(EdgeError::Unusable {
                        what: format!("slot \"{slot}\""),
                        why: format!("{why}, after {}", humantime::format_duration(PATIENCE)),
                    });
                }
                Err(error) if is_over => return Err(error),
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Asks every agent whether its nginx could make a change. The question is withdrawn unless all could.
    async fn ask(&self, route: &RouteStatus, next: &RouteStatus, slot: &str) -> Result<(), ShiftError> {
        let service = self.names.service_of(slot);
        let service = service.ok_or_else(|| ShiftError::Refused(format!("there is no slot \"{slot}\"")))?;
        let endpoints =
            backends(self.watched.client(), &self.names, service).await.map_err(ShiftError::NotSent)?;
        let endpoints = endpoints.peers().into_iter().map(|peer| peer.address).collect();
        let pending = PendingRoute { route: next.clone(), slot: slot.to_owned(), endpoints };
        let mut is_asked = false;
        let written = self.ledger.write(|status| {
            if status.route.as_ref().map(|route| route.seq) == Some(route.seq) {
                status.last_seq = status.last_seq.max(Some(next.seq));
                status.pending = Some(pending);
                is_asked = true;
            }
        });
        written.await.map_err(|error| ShiftError::NotSent(unwritten(&error)))?;
        if !is_asked {
            let now = self.read().await.map_err(ShiftError::NotSent)?;
            return Err(ShiftError::Moved(Box::new(now)));
        }
        let why = match self.wait(PATIENCE, |readings| readings.seen(next.seq)).await {
            Ok((_, Progress::All)) => return Ok(()),
            Ok((_, Progress::Refused(why))) => why,
            Ok((_, Progress::Waits(why))) => {
                format!("{why}, after {}", humantime::format_duration(PATIENCE))
            }
            Err(error) => error.to_string(),
        };
        let withdrawn = self.ledger.write(|status| {
            if status.pending.as_ref().map(|pending| pending.route.seq) == Some(next.seq) {
                status.pending = None;
            }
        });
        if let Err(error) = withdrawn.await {
            tracing::warn!(group = self.names.group, %error, "a pending change is not withdrawn; it moves nothing");
        }
        Err(ShiftError::Refused(format!("not every nginx can make the change: {why}")))
    }

    /// Waits until every nginx that users reach has the route.
    async fn until_applied(&self, route: &RouteStatus) -> Result<Look, ShiftError> {
        let is_over = |readings: &Readings| match readings.taken_back(route) {
            // The next reading brings all others back.
            Some(_) => Progress::All,
            None => readings.applied(route),
        };
        match self.wait(PATIENCE, is_over).await.map_err(ShiftError::Unknown)? {
            (readings, Progress::All) => match readings.taken_back(route) {
                Some(_) => self.read().await.map_err(ShiftError::Unknown),
                None => self.look_of(route, &readings).map_err(ShiftError::Unknown),
            },
            (_, Progress::Waits(why) | Progress::Refused(why)) => {
                Err(ShiftError::Unknown(EdgeError::Unusable {
                    what: format!("change {} of the route", route.seq),
                    why: format!(
                        "not every nginx has it after {}: {why}",
                        humantime::format_duration(PATIENCE)
                    ),
                }))
            }
        }
    }

    /// Waits until the traffic inside the cluster has had this long to follow the route. Fails if its Service does not.
    pub async fn settle(&self, after: Duration) -> Result<(), EdgeError> {
        let Some(route) = self.ledger.status().await.route else { return Ok(()) };
        loop {
            let stamp = match service::read_all(self.watched.client(), &self.names).await {
                Ok((selected, _)) if selected.active == route.active => selected.stamp,
                Ok(_) => {
                    self.follow(&route.active, &route.reason).await?;
                    continue;
                }
                // It selects no slot, so it gives none of them traffic.
                Err(EdgeError::Unusable { .. }) => return Ok(()),
                Err(error) => return Err(error),
            };
            match after.saturating_sub(stamp.age()) {
                left if stamp.generation > 0 && !left.is_zero() => tokio::time::sleep(left).await,
                _ => return Ok(()),
            }
        }
    }

    /// What comes after a change that stays: traffic inside the cluster follows, and agents that are gone are forgotten.
    async fn finish(&self, route: &RouteStatus, reason: &str) {
        if route.trial.is_some() || route.second.is_some() {
            return;
        }
        // Nobody uses it, or an operator must look at it. No slot is stopped before it follows.
        if let Err(error) = self.follow(&route.active, reason).await {
            tracing::warn!(group = self.names.group, %error, "the Service does not follow the route");
        }
        self.forget_gone().await;
    }

    async fn follow(&self, active: &str, reason: &str) -> Result<(), EdgeError> {
        let followed = service::follow(self.watched.client(), &self.names, active, reason).await;
        followed.map_err(|error| match error {
            ShiftError::NotSent(error) | ShiftError::Unknown(error) => error,
            other => EdgeError::Refused { subject: API, why: other.to_string() },
        })
    }

    /// Removes what the agents of Pods that are gone have said.
    async fn forget_gone(&self) {
        let (Ok(agents), Ok(pods)) = (self.ledger.agents().await, self.pods.list().await) else { return };
        let resource = (self.names.namespace.as_str(), self.names.group.as_str(), self.ledger.uid());
        for gone in agents.iter().filter(|agent| pods.iter().all(|pod| pod.name != agent.pod)) {
            if let Err(error) = agent::remove(self.watched.client(), resource, &gone.pod).await {
                tracing::debug!(pod = gone.pod, %error, "failed to remove what a Pod that is gone has said");
            }
        }
    }
}
