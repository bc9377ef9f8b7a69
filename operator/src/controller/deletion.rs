//! The deletion of a resource: its traffic is brought to a verified slot first, and then it is let go.

use cutover_core::deployment::{Event, Phase};
use kube::ResourceExt;
use kube::runtime::controller::Action;
use serde_json::json;

use super::{Context, Driven, FINALIZER, SOON, Unreconciled};
use crate::resource::BlueGreen;

impl Context {
    /// Ends what is under way, and removes the finalizer.
    pub(super) async fn let_go(&self, resource: &BlueGreen, driven: &Driven) -> Result<Action, Unreconciled> {
        if let Some(running) = driven.running() {
            let phase = running.state().phase;
            // The new version is live and good: there is nothing to undo.
            if !matches!(phase, Phase::Warm { .. } | Phase::Decommissioning(_)) {
                if phase.cause().is_none()
                    && let Err(why) =
                        running.ask(Event::Abort("the BlueGreen is being deleted".to_owned())).await
                {
                    tracing::info!(deployment = running.id, why, "the deployment ends by itself");
                }
                self.observe(resource, driven, true).await?;
                return Ok(Action::requeue(SOON));
            }
            running.stop();
        }
        // The hook learns of the way back. Its Job needs nobody who looks at it.
        self.observe(resource, driven, true).await?;
        let finalizers: Vec<&String> =
            resource.finalizers().iter().filter(|finalizer| *finalizer != FINALIZER).collect();
        let patch = json!({ "metadata": { "resourceVersion": resource.resource_version(), "finalizers": finalizers } });
        self.patch(resource, patch).await?;
        self.driven.lock().remove(&resource.uid().unwrap_or_default());
        Ok(Action::await_change())
    }
}
