//! The databases of the world: the scene's own, which `migrate` and `revert` change as the commands of these names do.

use std::time::Duration;

use super::scene::Scene;
use super::world::Scripted;
use crate::databases::{Databases, NotMigrated, NotReverted};
use crate::journal::Deployment;

impl Databases for Scripted {
    async fn migrate(&self, deployment: &Deployment) -> Result<Vec<String>, NotMigrated> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.scene().migrate(deployment)
    }

    async fn revert(&self, deployment: &Deployment) -> Result<Vec<String>, NotReverted> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.scene().revert(deployment)
    }
}

impl Scene {
    fn migrate(&mut self, deployment: &Deployment) -> Result<Vec<String>, NotMigrated> {
        self.commands.push(format!("migrations {}", deployment.plan.to));
        if self.fails("migrate") {
            return Err(NotMigrated::Nothing("0002_b.up.sql: syntax error".to_owned()));
        }
        if !self.database.contains(&deployment.id) {
            self.database.push(deployment.id.clone());
        }
        match self.fails("migrate partly") {
            true => Err(NotMigrated::Partly("0003_c.up.sql: syntax error".to_owned())),
            false => Ok(vec!["0002_b".to_owned()]),
        }
    }

    fn revert(&mut self, deployment: &Deployment) -> Result<Vec<String>, NotReverted> {
        let slot = &deployment.plan.to;
        self.commands.push(format!("reverts {slot}"));
        if self.fails("rows") {
            let (why, next) = (
                "0002_b would drop table \"gifts\"".to_owned(),
                "cutover database revert shop --yes".to_owned(),
            );
            return Err(NotReverted::Ask { why, next });
        }
        if self.fails("revert") {
            return Err(NotReverted::Failed("0002_b.down.sql: syntax error".to_owned()));
        }
        if self.has_users(slot) || self.held_by(slot).0 > 0 {
            self.violations.push("the database was reverted while a version used it".to_owned());
        }
        self.database.retain(|its| *its != deployment.id);
        Ok(vec!["0002_b".to_owned()])
    }
}
