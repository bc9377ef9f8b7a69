//! ingress-nginx with Cutover's module: the route is in the status of the `BlueGreen`, and an agent in each Pod gives it to
//! its nginx.
//!
//! ```text
//! shift    status.pending -> every agent: my nginx could -> status.route -> every agent: my nginx has it
//! back     status.route at once: nobody is asked
//! look     every agent over HTTP, as one group; what one nginx took back by itself, all take back
//! ```

use std::sync::Arc;
use std::time::Duration;

use cutover_core::api::Group;
use cutover_core::deployment::Revision;
use cutover_engine::edge::{Abilities, Edge, EdgeError, Follow, Look, Shift, ShiftError};
use cutover_engine::journal::JournalError;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Names;
use super::errors::API;
use super::watched::Watched;
use crate::ledger::Ledger;
use crate::resource::{BlueGreenStatus, RouteStatus};

mod asking;
mod changing;
mod pods;
mod readings;
mod spec;
mod sums;
mod view;

use asking::Asking;
use pods::ControllerPods;
pub use pods::NONE;
pub use readings::SECRET as TOKEN;
use readings::{Progress, Readings};
pub use spec::{AGENT_PORT, ControllerSpec, IngressNginxSpec};
use sums::Sums;
use view::revision;

/// The module does all.
pub(super) const ABILITIES: Abilities =
    Abilities { follow: Follow::AtOnce, trials: true, counters: true, shares: true };

/// How long the agents may take for one step of a change.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long those that answer may take to follow one that has taken the traffic back.
const FOLLOWING: Duration = Duration::from_secs(3);

/// Pause between two readings.
const PAUSE: Duration = Duration::from_millis(100);

/// A lease is renewed so many times before it would end.
const RENEWALS: u32 = 5;

/// The edge of one `BlueGreen`.
pub struct IngressNginxEdge {
    watched: Arc<Watched>,
    names: Names,
    ledger: Arc<Ledger>,
    pods: ControllerPods,
    asking: Asking,
    sums: Mutex<Sums>,
    /// The last renewal: of which change, and when.
    renewed: Mutex<Option<(i64, Instant)>>,
    /// An nginx that lagged at the last look.
    lagging: Mutex<Option<String>>,
}

impl IngressNginxEdge {
    /// The edge of a `BlueGreen`, whose status the ledger writes.
    pub fn new(watched: Arc<Watched>, names: Names, spec: &IngressNginxSpec, ledger: Arc<Ledger>) -> Self {
        let client = watched.client();
        let namespace = &spec.controller.namespace;
        Self {
            pods: ControllerPods::new(client.clone(), spec.controller.clone()),
            asking: Asking::new(client.clone(), namespace, &names.namespace, &names.group),
            watched,
            names,
            ledger,
            sums: Mutex::default(),
            renewed: Mutex::default(),
            lagging: Mutex::default(),
        }
    }

    /// Why an nginx that users reach did not have the route at the last look, in one line. `None`: all had it.
    pub fn lagging(&self) -> Option<String> {
        self.lagging.lock().clone()
    }

    /// Reads all agents.
    async fn readings(&self) -> Result<Readings, EdgeError> {
        self.asking.all(&self.pods.known().await?).await
    }

    /// The route in the status. If there is none yet, it becomes the one that nginx has.
    async fn route(&self, readings: &Readings) -> Result<RouteStatus, EdgeError> {
        if let Some(route) = self.ledger.status().await.route {
            return Ok(route);
        }
        let slots: Vec<String> = self.names.slots.iter().map(|(slot, _)| slot.clone()).collect();
        let active = view::first(readings, &slots)?;
        let reason = "as nginx had it".to_owned();
        let written = self.ledger.write(|status| {
            if status.route.is_none() {
                let seq = next_seq(status);
                let epoch = status.epoch;
                status.last_seq = Some(seq);
                status.route = Some(RouteStatus { seq, epoch, active, reason, ..RouteStatus::default() });
            }
        });
        written.await.map_err(|error| unwritten(&error))?;
        self.ledger.status().await.route.ok_or(EdgeError::NoEdge)
    }

    /// Reads the group over all Pods. What one nginx has taken back by itself, all take back first.
    async fn read(&self) -> Result<Look, EdgeError> {
        let mut readings = self.readings().await?;
        let mut route = self.route(&readings).await?;
        if let Some((pod, by, active)) = readings.taken_back(&route) {
            tracing::warn!(group = self.names.group, pod, %by, "nginx has taken the traffic back by itself: so do all");
            let back = changing::Back { pod: pod.to_owned(), by, active: active.to_owned() };
            route = self.take_back(&route, &back).await?;
            readings = self.wait(FOLLOWING, |readings| readings.applied(&route)).await?.0;
        }
        self.look_of(&route, &readings)
    }

    fn look_of(&self, route: &RouteStatus, readings: &Readings) -> Result<Look, EdgeError> {
        let silence = readings.silence();
        *self.lagging.lock() = readings.lagging(route);
        let all = self.sums.lock().add(readings).filter(|_| silence.is_none());
        let all = all.ok_or_else(|| EdgeError::Unusable {
            what: "the controller".to_owned(),
            why: silence.unwrap_or_default(),
        })?;
        Ok(view::look(&self.names.group, route, readings, all))
    }

    /// Reads the agents until they have come so far, one of them refuses, or the time is over.
    async fn wait(
        &self,
        limit: Duration,
        progress: impl Fn(&Readings) -> Progress,
    ) -> Result<(Readings, Progress), EdgeError> {
        let begin = Instant::now();
        loop {
            let readings = self.readings().await?;
            let come = progress(&readings);
            if !matches!(come, Progress::Waits(_)) || begin.elapsed() >= limit {
                return Ok((readings, come));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn expect(&self, expected: &Revision) -> Result<Look, ShiftError> {
        let look = self.read().await.map_err(ShiftError::NotSent)?;
        if look.revision == *expected { Ok(look) } else { Err(ShiftError::Moved(Box::new(look))) }
    }
}

impl Edge for IngressNginxEdge {
    fn name(&self) -> &str {
        "ingressNginx"
    }

    fn abilities(&self) -> Abilities {
        ABILITIES
    }

    async fn groups(&self) -> Result<Vec<Group>, EdgeError> {
        Ok(vec![self.read().await?.group])
    }

    async fn look(&self, _: &str) -> Result<Look, EdgeError> {
        self.read().await
    }

    /// With two slots there is only one standby.
    async fn stand_by(&self, _: &str, _: &str) -> Result<(), EdgeError> {
        Ok(())
    }

    async fn shift(&self, _: &str, shift: &Shift, expected: &Revision) -> Result<Look, ShiftError> {
        self.change(shift, expected).await
    }

    async fn renew(&self, _: &str, lease: Duration, expected: &Revision) -> Result<Look, ShiftError> {
        let look = self.expect(expected).await?;
        let seq = i64::from(look.route().generation);
        let is_fresh = |(of, at): &(i64, Instant)| *of == seq && at.elapsed() < lease / RENEWALS;
        if self.renewed.lock().as_ref().is_some_and(is_fresh) {
            return Ok(look);
        }
        let written = self.ledger.write(|status| {
            if let Some(route) =
                status.route.as_mut().filter(|route| route.seq == seq && route.trial.is_some())
            {
                route.renewals += 1;
            }
        });
        written.await.map_err(|error| ShiftError::Unknown(unwritten(&error)))?;
        *self.renewed.lock() = Some((seq, Instant::now()));
        Ok(look)
    }

    async fn confirm(&self, _: &str, _: &str, expected: &Revision) -> Result<Look, ShiftError> {
        let look = self.expect(expected).await?;
        if look.taken_back.is_some() {
            return Err(ShiftError::Moved(Box::new(look)));
        }
        self.end_trial(i64::from(look.route().generation)).await
    }
}

/// The number of the next change.
fn next_seq(status: &BlueGreenStatus) -> i64 {
    let of_route = status.route.as_ref().map_or(0, |route| route.seq);
    status.last_seq.unwrap_or_default().max(of_route) + 1
}

/// Why the status is not written, as an error of the edge.
fn unwritten(error: &JournalError) -> EdgeError {
    match error {
        JournalError::Closed(why) => EdgeError::Refused { subject: API, why: why.clone() },
        error => {
            EdgeError::Unreachable { subject: API, address: "status".to_owned(), why: error.to_string() }
        }
    }
}
