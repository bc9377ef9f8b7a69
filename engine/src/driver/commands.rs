//! The phases that run a command of the operator.
//!
//! Before each command the driver asks the edge where the traffic is, see [`Obstacle`].

use cutover_core::deployment::Event;

use super::jobs::{self, job_for_new};
use super::obstacle::Obstacle;
use super::work::Work;
use crate::commands::{Failed, Job};
use crate::journal::Journal;
use crate::policy;
use crate::world::World;

impl<W: World, J: Journal> Work<W, J> {
    pub(super) async fn migrate(&self, phase: &str) -> Event {
        // The plan and the policy of a deployment name the same commands.
        let Some(migrate) = &self.deployment.policy.migrate else { return Event::MigratedNothing };
        let asked = match self.edge_answers().await {
            Ok(()) => self.obstacle_of_database(&self.deployment.plan.to).await,
            Err(why) => Err(why),
        };
        match asked {
            Ok(Some(Obstacle::Routed(why))) => return Event::RouteMoved(why),
            Ok(Some(Obstacle::Held(_)) | None) => {}
            Err(why) => return Event::MigrateFailed(format!("migrate was not started: {why}")),
        }
        let job = job_for_new(&self.deployment, "migrate", migrate);
        let done = self.world.run(&job).await;
        if let Err(Failed { code: Some(code), .. }) = &done
            && migrate.nothing_applied.is_some_and(|nothing| i32::from(nothing.get()) == *code)
        {
            return Event::MigratedNothing;
        }
        match self.shown(phase, "migrate", done).await {
            Ok(()) => Event::Migrated,
            Err(failed) => {
                let reason = failed.reason;
                Event::MigrateFailed(format!("{reason}; the migration may be partly applied"))
            }
        }
    }

    /// Starts the new version, unless the slot has received traffic in the meantime.
    pub(super) async fn provision(&self, phase: &str) -> Event {
        let asked = match self.edge_answers().await {
            Ok(()) => self.obstacle(&self.deployment.plan.to).await,
            Err(why) => Err(why),
        };
        match asked {
            Ok(Some(Obstacle::Routed(why))) => return Event::RouteMoved(why),
            // The first message of the deployment has announced what it cuts off.
            Ok(Some(Obstacle::Held(_)) | None) => {}
            Err(why) => return Event::ProvisionFailed(why),
        }
        match self.run(phase, "provision", self.deployment.policy.provision.as_ref()).await {
            Ok(()) => Event::Provisioned,
            Err(failed) => Event::ProvisionFailed(failed.reason),
        }
    }

    pub(super) async fn decommission_old(&self, phase: &str) -> Event {
        if let Some(event) = self.before_stopping(phase, &self.deployment.plan.from).await {
            return event;
        }
        let jobs = jobs::jobs(&self.deployment);
        match self.run_job(phase, jobs.decommission_old).await {
            Ok(()) => Event::Decommissioned,
            Err(failed) => Event::StepFailed(failed.reason),
        }
    }

    pub(super) async fn revert(&self, phase: &str) -> Event {
        if let Some(event) = self.before_reverting(&self.deployment.plan.to).await {
            return event;
        }
        match self.run(phase, "revert", self.deployment.policy.revert.as_ref()).await {
            Ok(()) => Event::Reverted,
            Err(failed) => Event::StepFailed(failed.reason),
        }
    }

    pub(super) async fn tear_down_new(&self, phase: &str) -> Event {
        if let Some(event) = self.before_stopping(phase, &self.deployment.plan.to).await {
            return event;
        }
        match self.run_job(phase, jobs::jobs(&self.deployment).tear_down_new).await {
            Ok(()) => Event::TornDown,
            Err(failed) => Event::StepFailed(failed.reason),
        }
    }

    /// Runs a command for the new slot. Does nothing without a command.
    pub(super) async fn run(
        &self,
        phase: &str,
        name: &str,
        command: Option<&policy::Command>,
    ) -> Result<(), Failed> {
        let job = command.map(|command| job_for_new(&self.deployment, name, command));
        self.run_job(phase, job).await
    }

    pub(super) async fn run_job(&self, phase: &str, job: Option<Job>) -> Result<(), Failed> {
        // The plan and the policy of a deployment name the same commands.
        let Some(job) = job else { return Ok(()) };
        let done = self.world.run(&job).await;
        self.shown(phase, &job.name, done).await
    }

    /// Notes the end of the output of a failed command.
    async fn shown(&self, phase: &str, name: &str, done: Result<(), Failed>) -> Result<(), Failed> {
        if let Err(failed) = &done
            && failed.tail.lines().count() > 1
        {
            self.note(phase, &format!("last output of {name}:\n{}", failed.tail)).await;
        }
        done
    }

    /// Returns an event if the slot must not be stopped. Notes the requests that the stop cuts off.
    async fn before_stopping(&self, phase: &str, slot: &str) -> Option<Event> {
        // An edge that restarts costs none of the tries.
        if let Err(error) = self.look_patiently().await {
            return Some(Event::StepFailed(error.to_string()));
        }
        match self.obstacle(slot).await {
            Ok(None) => None,
            Ok(Some(Obstacle::Routed(why))) => Some(Event::RouteMoved(why)),
            Ok(Some(Obstacle::Held(held))) => {
                self.note(phase, &format!("slot \"{slot}\" {held}, which the stop cuts off")).await;
                None
            }
            Err(why) => Some(Event::StepFailed(why)),
        }
    }

    /// Returns an event if the database must not be reverted. Unfinished requests prevent a revert, too.
    async fn before_reverting(&self, slot: &str) -> Option<Event> {
        if let Err(error) = self.look_patiently().await {
            return Some(Event::StepFailed(error.to_string()));
        }
        match self.obstacle_of_database(slot).await {
            Ok(None) => None,
            Ok(Some(Obstacle::Routed(why))) => Some(Event::RouteMoved(why)),
            Ok(Some(Obstacle::Held(held))) => Some(Event::Held(format!("slot \"{slot}\" still {held}"))),
            Err(why) => Some(Event::StepFailed(why)),
        }
    }
}
