//! Whether the new version's Pods are still those that the deployment has started: what others were is not proven.

use cutover_core::deployment::{Event, Phase};

use super::Driven;
use crate::running::Running;

impl Driven {
    /// Ends a deployment whose Pods somebody has replaced: before its switch no traffic moves, and in its soak it goes back.
    pub(super) async fn follow_standby(&self, running: &Running) {
        let state = running.state();
        let is_tried = matches!(
            state.phase,
            Phase::Probing { .. }
                | Phase::Smoking
                | Phase::Switching(_)
                | Phase::Soaking { .. }
                | Phase::Confirming(_)
        );
        let entry = self.ledger.status().await.deployment;
        let rollout = entry.filter(|entry| entry.id == running.id).and_then(|entry| entry.rollout);
        let Some(rollout) = rollout.filter(|_| is_tried && state.abort.is_none()) else { return };
        let why = match running.changed(&rollout).await {
            Ok(Some(why)) => why,
            Ok(None) => return,
            Err(why) => {
                // The probes judge a slot whose Deployment cannot be read.
                tracing::debug!(
                    deployment = running.id,
                    why,
                    "failed to look at the Deployment of the new version"
                );
                return;
            }
        };
        if let Err(refused) = running.ask(Event::Abort(why)).await {
            tracing::info!(deployment = running.id, refused, "the deployment goes on for now");
        }
    }
}
