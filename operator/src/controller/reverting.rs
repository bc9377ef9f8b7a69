//! The verb `revert`: a Job that undoes what the migration of a deployment has left in the database.
//!
//! ```text
//! a deployment ends, and did not complete -> status.unreverted -> the verb -> its key job -> the Job -> its end: it goes, or
//! only the key job
//! ```
//!
//! The newest is reverted first. Meanwhile no deployment begins. An operator that takes over waits for the same Job.

use cutover_engine::commands::Failed;
use cutover_engine::driver;
use cutover_engine::edge::Edge as _;
use kube::ResourceExt as _;

use super::{Context, Driven, Unreconciled, say};
use crate::jobs::{JobState, Jobs};
use crate::journal::unfinished;
use crate::resource::{BlueGreen, BlueGreenStatus, JournalEntry, UnrevertedStatus};
use crate::world::ClusterWorld;
use crate::{conditions, words};

/// Whether a revert is under way.
pub(super) fn is_reverting(status: &BlueGreenStatus) -> bool {
    status.unreverted.first().is_some_and(|left| left.job.is_some())
}

impl Context {
    /// Names the Job. The error says why there is nothing to revert now.
    pub(super) async fn ask_to_revert(&self, driven: &Driven) -> Result<Result<(), String>, Unreconciled> {
        let status = driven.ledger.status().await;
        let Some(left) = status.unreverted.first() else {
            return Ok(
                Err("no deployment has left anything in the database that can be reverted".to_owned()),
            );
        };
        if let Some(under_way) = &status.deployment {
            return Ok(Err(format!("deployment {} is under way: wait for its end", under_way.id)));
        }
        if left.job.is_some() {
            // The annotation is read again where its removal has failed.
            return Ok(Ok(()));
        }
        // The first try was the driver's.
        let tries = left.tries.max(1) + 1;
        let job = format!("{}-revert-{tries}", left.deployment.id);
        driven
            .ledger
            .write(|status| {
                if let Some(left) = status.unreverted.first_mut() {
                    (left.tries, left.job, left.failed) = (tries, Some(job.clone()), None);
                }
            })
            .await?;
        Ok(Ok(()))
    }

    /// Makes the Job that somebody has asked for, or looks whether it has ended. Returns whether it is under way.
    pub(super) async fn follow_revert(
        &self,
        resource: &BlueGreen,
        driven: &Driven,
    ) -> Result<bool, Unreconciled> {
        let status = driven.ledger.status().await;
        let Some(left) = status.unreverted.first() else { return Ok(false) };
        let Some(job) = &left.job else { return Ok(false) };
        let namespace = resource.namespace().unwrap_or_default();
        let jobs = Jobs::new(self.client.clone(), &namespace);
        let done = match jobs.state(job).await {
            JobState::Runs => return Ok(true),
            JobState::Ended(done) => done,
            JobState::Missing => match self.begin_revert(driven, left, job, &jobs).await {
                Ok(()) => return Ok(true),
                Err(failed) => Err(failed),
            },
        };
        self.end_revert(resource, driven, left, done).await?;
        Ok(false)
    }

    /// Makes the Job, once nothing can reach the slot. Fails if it can never be made.
    async fn begin_revert(
        &self,
        driven: &Driven,
        left: &UnrevertedStatus,
        name: &str,
        jobs: &Jobs,
    ) -> Result<(), Failed> {
        let (unfinished, setup) = unfinished(&left.deployment).map_err(Failed::early)?;
        let nothing = || Failed::early("its spec had no Job to revert with".to_owned());
        let step = driver::jobs(&unfinished.deployment).revert.ok_or_else(nothing)?;
        let what = setup.migrations.as_ref().and_then(|all| all.revert.clone()).ok_or_else(nothing)?;
        let world = ClusterWorld::new(&self.watched, &setup, &driven.ledger);
        let JournalEntry { slot, version, .. } = &left.deployment;
        // An edge that does not answer is asked again by the next round.
        let Ok(look) = world.edge().look(&setup.name).await else { return Ok(()) };
        if let Some(traffic) = look.group.has_traffic(slot) {
            let why = format!("slot \"{slot}\" {traffic}, and version {version} may need it");
            return Err(Failed::early(words::of_cluster(&why, &unfinished.deployment.plan, &setup)));
        }
        if world.settle().await.is_err() {
            return Ok(());
        }
        let pods = world.workloads().with_template(slot).await.map_err(Failed::early)?;
        jobs.begin(name, &step, &what, &pods).await
    }

    async fn end_revert(
        &self,
        resource: &BlueGreen,
        driven: &Driven,
        left: &UnrevertedStatus,
        done: Result<(), Failed>,
    ) -> Result<(), Unreconciled> {
        let (version, at) = (&left.deployment.version, self.clock.now());
        let (reason, message, below) = match &done {
            Ok(()) => ("Reverted", format!("the migration of version {version} is reverted"), String::new()),
            Err(failed) => {
                let again =
                    words::verb("revert", &resource.name_any(), &resource.namespace().unwrap_or_default());
                let why = &failed.reason;
                let message = format!(
                    "the migration of version {version} is not reverted: {why}; to try again, type: {again}"
                );
                ("RevertFailed", message, failed.below())
            }
        };
        let failed = done.as_ref().err().map(|failed| failed.reason.clone());
        driven
            .ledger
            .write(|status| {
                match (&failed, status.unreverted.first_mut()) {
                    (Some(_), Some(left)) => (left.job, left.failed) = (None, failed.clone()),
                    _ => drop(status.unreverted.drain(..1.min(status.unreverted.len()))),
                }
                conditions::set(status, "Degraded", failed.is_some(), reason, &message, at);
                say(status, reason, &message);
            })
            .await?;
        driven.ledger.publish(reason, &format!("{message}{below}"), done.is_err()).await;
        Ok(())
    }
}
