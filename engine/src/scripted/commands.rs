//! The commands of the world: they change its slots and its database.

use std::time::Duration;

use super::scene::{Hook, Scene};
use super::world::Scripted;
use crate::commands::{Commands, Failed, Job};
use crate::world::World;

impl Commands for Scripted {
    async fn output(&self, job: &Job) -> Result<String, Failed> {
        let hangs = self.scene().hanging.contains(&job.name);
        let limit = job.command.timeout.get();
        tokio::time::sleep(if hangs { limit } else { Duration::from_secs(1) }).await;
        let slot = job.environment.get("CUTOVER_SLOT").cloned().unwrap_or_default();
        let used_by = self.edges().iter().skip(1).find(|member| member.edge().scene().has_users(&slot));
        let used_by = used_by.map(|member| member.name().to_owned());
        let mut scene = self.scene();
        let touches = matches!(job.name.as_str(), "revert" | "provision" | "decommission" | "teardown");
        if let Some(edge) = used_by.filter(|_| touches) {
            scene.violations.push(format!("{} of slot {slot} while it had users of {edge}", job.name));
        }
        let done = scene.run(job);
        let said = scene.outputs.get(&job.name).cloned().unwrap_or_default();
        drop(scene);
        self.share_servers();
        match done {
            Ok(()) if hangs => Err(Failed {
                reason: format!("{} did not end within {} and was killed", job.name, job.command.timeout),
                tail: said,
                code: None,
            }),
            done => done.map(|()| said),
        }
    }

    async fn end(&self, _: &str) -> Result<(), String> {
        Ok(())
    }
}

impl Scene {
    fn run(&mut self, job: &Job) -> Result<(), Failed> {
        let slot = job.environment.get("CUTOVER_SLOT").cloned().unwrap_or_default();
        let version = job.environment.get("CUTOVER_VERSION").cloned().unwrap_or_default();
        let command = format!("{} {slot}", job.name);
        self.commands.push(command.clone());
        self.environments.insert(job.name.clone(), job.environment.clone());
        assert!(!self.fails("panic"), "a bug, as a test wants it");
        if let Some(code) = self.exit_code.remove(&job.name) {
            let failed = Failed::early(format!("{} ended with exit status: {code}", job.name));
            return Err(Failed { code: Some(code), ..failed });
        }
        if self.fails(&job.name) {
            return Err(Failed::early(format!("{} ended with exit status: 1", job.name)));
        }
        match job.name.as_str() {
            "migrate" if !self.database.contains(&job.deployment) => {
                self.database.push(job.deployment.clone());
            }
            "revert" => {
                if self.has_users(&slot) || self.held_by(&slot).0 > 0 {
                    self.violations.push("the database was reverted while a version used it".to_owned());
                }
                self.database.retain(|deployment| *deployment != job.deployment);
            }
            "provision" => {
                if self.has_users(&slot) && !self.may_start_active {
                    self.violations.push(format!("slot {slot} was restarted while it had users"));
                }
                self.running.insert(slot, version);
            }
            "decommission" | "teardown" => {
                if self.has_users(&slot) {
                    self.violations.push(format!("slot {slot} was stopped while it had users"));
                }
                self.running.remove(&slot);
            }
            _ => {}
        }
        if let Some((_, Hook(happen))) = self.after_command.take_if(|(after, _)| *after == command) {
            happen(self);
        }
        Ok(())
    }
}
