//! A blue-green Rollout of Argo: its controller moves the traffic, and the operator tells it when.
//!
//! ```text
//! slot       a ReplicaSet of the Rollout, by its hash: the annotation `cutover.dev/slots` says which
//! start      the image in the template; Argo makes the ReplicaSet, gives it the preview Service, and pauses
//! shift      status.promoteFull: true; Argo gives the ReplicaSet the active Service
//! back       the template of the old ReplicaSet; Argo gives it the active Service again
//! stop       nothing: Argo scales down by itself. A template that did not get the traffic is taken back
//! ```
//!
//! The stamp is an annotation of the Rollout, as on other edges.

#![allow(unreachable_pub, reason = "the derive of the schema copies the struct into a function")]

use std::sync::Arc;
use std::time::Duration;

use cutover_core::api::{Group, Peer, RouteState, Slot};
use cutover_core::deployment::Revision;
use cutover_engine::edge::{Abilities, Edge, EdgeError, Follow, Look, Shift, ShiftError};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{Names, Watched};

mod changing;
mod reading;
mod rollout;
mod unsuitable;
mod workload;

use reading::Reading;
use rollout::Rollout;
pub use rollout::api;
pub use unsuitable::{Unsuitable, unsuitable};
pub use workload::RolloutWorkload;

/// Argo moves all of the traffic, and counts nothing.
pub(super) const ABILITIES: Abilities =
    Abilities { follow: Follow::Propagated, trials: false, counters: false, shares: false };

/// A blue-green Rollout.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArgoRolloutsSpec {
    /// The Rollout. Its `activeService` is `spec.service`, and `autoPromotionEnabled` is false.
    #[schemars(length(min = 1, max = 253))]
    pub rollout: String,
}

/// The edge of one `BlueGreen`.
pub struct RolloutEdge {
    rollout: Rollout,
}

impl RolloutEdge {
    /// The edge over a Rollout.
    pub fn new(watched: Arc<Watched>, names: Names, spec: &ArgoRolloutsSpec) -> Self {
        Self { rollout: Rollout::new(watched, names, spec) }
    }

    async fn read(&self) -> Result<Look, EdgeError> {
        let reading = self.rollout.read().await?;
        self.look_of(&reading).await
    }

    async fn look_of(&self, reading: &Reading) -> Result<Look, EdgeError> {
        let names = self.rollout.names();
        let mut slots = Vec::new();
        for (slot, _) in &names.slots {
            let peers = match reading.hash_of(slot) {
                Some(hash) => self.rollout.pods(hash).await?,
                None => Vec::new(),
            };
            let upstream = format!("{}/{}/{slot}", names.namespace, self.rollout.name());
            let peer = |address| Peer { address, server: None, backup: false, down: false };
            let peers = peers.into_iter().map(peer).collect();
            slots.push(Slot { name: slot.clone(), upstream, peers, ..Slot::default() });
        }
        let generation = u32::try_from(reading.stamp.generation).unwrap_or(u32::MAX);
        let state = RouteState {
            active: reading.active.clone(),
            generation,
            split: None,
            trial: None,
            standby: None,
        };
        let (stamp, is_ours) = (&reading.stamp, reading.is_as_stamped());
        Ok(Look {
            group: Group { name: names.group.clone(), route: state, slots, events: Vec::new() },
            revision: reading.revision(),
            follows: stamp.follows.clone().filter(|_| is_ours).map(Revision::new),
            taken_back: None,
            reason: stamp.reason.clone().filter(|_| is_ours),
        })
    }

    async fn expect(&self, expected: &Revision) -> Result<Look, ShiftError> {
        let look = self.read().await.map_err(ShiftError::NotSent)?;
        if look.revision == *expected { Ok(look) } else { Err(ShiftError::Moved(Box::new(look))) }
    }

    /// Waits until the last change of the route is this long ago.
    pub async fn settle(&self, after: Duration) -> Result<(), EdgeError> {
        let reading = self.rollout.read().await?;
        if reading.stamp.generation > 0 {
            tokio::time::sleep(after.saturating_sub(reading.stamp.age())).await;
        }
        Ok(())
    }
}

impl Edge for RolloutEdge {
    fn name(&self) -> &str {
        "argoRollouts"
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

    /// There are no previews of users.
    async fn stand_by(&self, _: &str, _: &str) -> Result<(), EdgeError> {
        Ok(())
    }

    async fn shift(&self, _: &str, shift: &Shift, expected: &Revision) -> Result<Look, ShiftError> {
        self.change(shift, expected).await
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
