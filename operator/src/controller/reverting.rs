//! The verb `revert`: undoes what the migration of a deployment has left in the database.
//!
//! ```text
//! ended, and did not complete -> status.left -> the verb -> status.left.asked -> the Job -> its end: left goes, or only asked
//! ```
//!
//! Meanwhile no deployment begins. An operator that takes over waits for the same Job.

use std::sync::Arc;

use cutover_core::shell::quoted;
use cutover_engine::commands::{Commands as _, Failed};
use cutover_engine::driver;
use cutover_engine::edge::Edge as _;
use kube::ResourceExt as _;

use super::{Context, Driven, Unreconciled};
use crate::edge::Watched;
use crate::journal::unfinished;
use crate::ledger::Ledger;
use crate::resource::{BlueGreen, LeftStatus};
use crate::world::ClusterWorld;

impl Context {
    /// Notes that somebody wants the revert. The error says why there is nothing to revert now.
    pub(super) async fn ask_to_revert(
        &self,
        by: &str,
        driven: &Driven,
    ) -> Result<Result<(), String>, Unreconciled> {
        let Some(left) = driven.ledger.status().await.left else {
            return Ok(
                Err("no deployment has left anything in the database that can be reverted".to_owned()),
            );
        };
        if let Some(running) = driven.running() {
            return Ok(Err(format!("deployment {} is under way: wait for its end", running.id)));
        }
        if let Some(by) = left.asked {
            return Ok(Err(format!("{by} has asked for the same, and it runs")));
        }
        let asked = Some(by.to_owned());
        driven
            .ledger
            .write(|status| {
                if let Some(left) = &mut status.left {
                    left.asked.clone_from(&asked);
                }
            })
            .await?;
        Ok(Ok(()))
    }

    /// Runs the revert that somebody has asked for, in a task. Returns whether one is under way.
    pub(super) async fn follow_revert(&self, resource: &BlueGreen, driven: &Driven) -> bool {
        let left = driven.ledger.status().await.left;
        let Some(left) = left.filter(|left| left.asked.is_some()) else { return false };
        let mut reverting = driven.reverting.lock();
        if reverting.as_ref().is_none_or(tokio::task::JoinHandle::is_finished) {
            let (watched, ledger) = (Arc::clone(&self.watched), Arc::clone(&driven.ledger));
            let namespace = resource.namespace().unwrap_or_default();
            let again = format!("cutover-operator revert {} -n {namespace}", quoted(&resource.name_any()));
            *reverting = Some(tokio::spawn(async move {
                let done = revert(&watched, &ledger, &left).await;
                if let Err(error) = end(&ledger, &left, done, &again).await {
                    // The next round waits for the same Job.
                    tracing::warn!(deployment = left.deployment.id, %error, "failed to write how a revert has ended");
                }
            }));
        }
        true
    }
}

/// Runs the Job to its end. Returns one line.
async fn revert(watched: &Arc<Watched>, ledger: &Arc<Ledger>, left: &LeftStatus) -> Result<String, Failed> {
    let (unfinished, setup) = unfinished(&left.deployment).map_err(Failed::early)?;
    let nothing = || Failed::early("its spec had no Job to revert with".to_owned());
    let job = driver::jobs(&unfinished.deployment).revert.ok_or_else(nothing)?;
    let world = ClusterWorld::new(watched, &setup, ledger);
    let slot = &left.deployment.slot;
    let look = world.edge().look(&setup.name).await.map_err(|error| Failed::early(error.to_string()))?;
    let route = look.route();
    if route.active == *slot || !route.is_all_on(&route.active) {
        let why =
            format!("slot \"{slot}\" has traffic, and its version may need what it has migrated: {route}");
        return Err(Failed::early(why));
    }
    Box::pin(world.output(&job)).await
}

async fn end(
    ledger: &Ledger,
    left: &LeftStatus,
    done: Result<String, Failed>,
    again: &str,
) -> Result<(), Unreconciled> {
    let kept = done.is_err().then(|| LeftStatus { asked: None, ..left.clone() });
    ledger.write(|status| status.left.clone_from(&kept)).await?;
    let version = &left.deployment.version;
    match done {
        Ok(how) => {
            let message = format!("the database is as it was before version {version}: {how}");
            ledger.publish("Reverted", &message, false).await;
        }
        Err(failed) => {
            let message = format!(
                "the database still has what version {version} has migrated: {}; to try again, type: {again}{}",
                failed.reason,
                failed.below()
            );
            ledger.publish("RevertFailed", &message, true).await;
        }
    }
    Ok(())
}
