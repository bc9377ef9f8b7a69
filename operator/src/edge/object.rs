//! An edge whose route is in objects of the API.

use std::sync::Arc;
use std::time::Duration;

use cutover_core::api::{Group, RouteState, Slot};
use cutover_core::deployment::Revision;
use cutover_core::fraction::Percent;
use cutover_engine::edge::{Abilities, Edge, EdgeError, Look, Shift, ShiftError};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::carrier::Carrier;
use super::names::{Names, TRIES};
use super::route::Route;
use super::watched::Watched;

/// How long a reading is shared. A soak, its probes and a watch of the route each look once in a second.
const FRESH: Duration = Duration::from_millis(300);

/// An edge whose route is in objects of the API.
pub struct ObjectEdge {
    watched: Arc<Watched>,
    names: Names,
    carrier: Carrier,
    /// The last reading. Those who look at once share one.
    last: Mutex<Option<(Instant, Look)>>,
}

impl ObjectEdge {
    /// The edge of a `BlueGreen`.
    pub(super) fn new(watched: Arc<Watched>, names: Names, carrier: Carrier) -> Self {
        Self { watched, names, carrier, last: Mutex::default() }
    }

    async fn read(&self) -> Result<Look, EdgeError> {
        let (route, _) = self.carrier.read(&self.watched, &self.names).await?;
        self.look_of(&route).await
    }

    async fn look_of(&self, route: &Route) -> Result<Look, EdgeError> {
        let mut slots = Vec::new();
        for (slot, service) in &self.names.slots {
            let endpoints = self.watched.endpoints(&self.names, service).await?;
            let upstream = format!("{}/{service}", self.names.namespace);
            slots.push(Slot { name: slot.clone(), upstream, peers: endpoints.peers(), ..Slot::default() });
        }
        let split = route.second.as_ref().map(|(second, percent)| {
            let rest = Percent::from_parts(10_000 - percent.parts()).unwrap_or(*percent);
            [(second.clone(), *percent), (route.active.clone(), rest)].into()
        });
        let generation = u32::try_from(route.stamp.generation).unwrap_or(u32::MAX);
        let (active, stamp) = (route.active.clone(), &route.stamp);
        let state = RouteState { active, generation, split, trial: None, standby: None };
        Ok(Look {
            group: Group { name: self.names.group.clone(), route: state, slots, events: Vec::new() },
            revision: route.revision(),
            follows: stamp.follows.clone().filter(|_| route.is_as_stamped()).map(Revision::new),
            taken_back: None,
            reason: stamp.reason.clone().filter(|_| route.is_as_stamped()),
        })
    }

    /// Moves the route from the expected revision.
    async fn change(&self, shift: &Shift, expected: &Revision) -> Result<Look, ShiftError> {
        for _ in 0..TRIES {
            let read = self.carrier.read(&self.watched, &self.names).await;
            let (route, versions) = read.map_err(ShiftError::NotSent)?;
            if route.revision() != *expected {
                let look = self.look_of(&route).await.map_err(ShiftError::NotSent)?;
                return Err(ShiftError::Moved(Box::new(look)));
            }
            let next = route.after(shift).map_err(ShiftError::Refused)?;
            if next.is_same(&route) && !shift.fence && self.carrier.is_settled(&versions) {
                // An earlier try may have written it, and what serves the traffic may not have taken it.
                let accepted = self.carrier.accepted(self.watched.client(), &self.names, &route).await;
                accepted.map_err(ShiftError::Unknown)?;
                return self.look_of(&route).await.map_err(ShiftError::Unknown);
            }
            if !shift.fence {
                let may = self.carrier.may_change(self.watched.client(), &self.names, &route).await;
                may.map_err(|error| ShiftError::Refused(error.to_string()))?;
            }
            if self.carrier.write(self.watched.client(), &self.names, &versions, &next).await? {
                let read = self.carrier.accepted(self.watched.client(), &self.names, &next).await;
                read.map_err(ShiftError::Unknown)?;
                return self.look_of(&next).await.map_err(ShiftError::Unknown);
            }
        }
        Err(ShiftError::Refused(format!(
            "{} changes too often: {TRIES} tries met another change; find out who writes it: kubectl get {} -n {} -o yaml \
             --show-managed-fields",
            self.carrier.subject(&self.names),
            self.carrier.typed(&self.names),
            self.names.namespace,
        )))
    }

    /// Waits until the last change of the route is this long ago: those who give requests to Pods learn of it with delay.
    pub async fn settle(&self, after: Duration) -> Result<(), EdgeError> {
        loop {
            let (route, _) = self.carrier.read(&self.watched, &self.names).await?;
            if route.stamp.generation == 0 {
                return Ok(());
            }
            match after.saturating_sub(route.stamp.age()) {
                Duration::ZERO => return Ok(()),
                left => tokio::time::sleep(left).await,
            }
        }
    }

    async fn expect(&self, expected: &Revision) -> Result<Look, ShiftError> {
        let look = self.read().await.map_err(ShiftError::NotSent)?;
        if look.revision == *expected { Ok(look) } else { Err(ShiftError::Moved(Box::new(look))) }
    }
}

impl Edge for ObjectEdge {
    fn name(&self) -> &str {
        self.carrier.name()
    }

    fn abilities(&self) -> Abilities {
        self.carrier.abilities()
    }

    async fn groups(&self) -> Result<Vec<Group>, EdgeError> {
        Ok(vec![self.read().await?.group])
    }

    async fn look(&self, _: &str) -> Result<Look, EdgeError> {
        let mut last = self.last.lock().await;
        if let Some((at, look)) = &*last
            && at.elapsed() < FRESH
        {
            return Ok(look.clone());
        }
        let look = self.read().await?;
        *last = Some((Instant::now(), look.clone()));
        Ok(look)
    }

    /// There are no previews.
    async fn stand_by(&self, _: &str, _: &str) -> Result<(), EdgeError> {
        Ok(())
    }

    async fn shift(&self, _: &str, shift: &Shift, expected: &Revision) -> Result<Look, ShiftError> {
        let changed = self.change(shift, expected).await;
        *self.last.lock().await = None;
        changed
    }

    /// There is no trial, so this only reads.
    async fn renew(&self, _: &str, _: Duration, expected: &Revision) -> Result<Look, ShiftError> {
        self.expect(expected).await
    }

    /// A change is permanent from its beginning.
    async fn confirm(&self, _: &str, _: &str, expected: &Revision) -> Result<Look, ShiftError> {
        self.expect(expected).await
    }
}
