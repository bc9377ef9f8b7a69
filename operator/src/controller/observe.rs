//! Says in the status where the traffic is.

use std::collections::BTreeMap;

use cutover_engine::edge::Edge;

use super::{Context, Driven, Unreconciled};
use crate::conditions;
use crate::resource::BlueGreen;
use crate::setup::Setup;
use crate::world::ClusterWorld;

impl Context {
    /// Reads the route, and writes what has changed. `is_ready`: whether the condition `Ready` is about the traffic; if not, it
    /// says what is wrong with the resource.
    pub(super) async fn observe(
        &self,
        resource: &BlueGreen,
        driven: &Driven,
        is_ready: bool,
    ) -> Result<(), Unreconciled> {
        let setup = driven.running().map_or_else(|| Setup::of(resource), |running| running.setup.clone());
        let world = ClusterWorld::new(&self.watched, &setup, &driven.ledger);
        let look = match world.edge().look(&setup.name).await {
            Ok(look) => look,
            Err(error) => {
                return self.not_ready(driven, resource, "NoRoute", &error.to_string()).await.map(drop);
            }
        };
        let (route, at) = (look.route(), self.clock.now());
        let shares: BTreeMap<String, f64> = match &route.split {
            Some(split) => split.iter().map(|(slot, percent)| (slot.clone(), f64::from(*percent))).collect(),
            None => [(route.active.clone(), 100.0)].into(),
        };
        let peers = look.group.slot(&route.active).map_or(0, |slot| slot.peers.len());
        let message = match peers {
            0 => format!("slot \"{}\" has the traffic and no Pod that is ready", route.active),
            peers => format!("slot \"{}\" has the traffic, {peers} Pods ready", route.active),
        };
        driven
            .ledger
            .write(|status| {
                status.active_slot = Some(route.active.clone());
                status.shares = shares;
                let reason = if peers == 0 { "NoEndpoints" } else { "Serving" };
                if is_ready {
                    conditions::set(status, "Ready", peers > 0, reason, &message, at);
                }
            })
            .await?;
        self.show_lag(driven, world.edge().lagging()).await?;
        Box::pin(self.tell(resource, driven, &setup, &look)).await
    }
}
