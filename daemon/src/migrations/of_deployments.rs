//! The migrations of a deployment, as the driver applies and reverts them.

use cutover_core::migration::Record;
use cutover_database::{Consent, NotReverted as Stays};
use cutover_engine::databases::{Databases, NotMigrated, NotReverted};
use cutover_engine::journal::Deployment;

use super::{Doer, Place, next};
use crate::live::Live;

impl Databases for Live {
    async fn migrate(&self, deployment: &Deployment) -> Result<Vec<String>, NotMigrated> {
        let Some(database) = &deployment.policy.database else { return Ok(Vec::new()) };
        if !self.leads() {
            return Err(NotMigrated::Partly("this daemon does not lead any more".to_owned()));
        }
        // What an earlier process has applied is not known before the database is asked.
        let place = Place::of(database, &deployment.policy.env).map_err(NotMigrated::Partly)?;
        let folder = place.folder(&deployment.version).await.map_err(NotMigrated::Partly)?;
        match place.migrate(doer(deployment), &folder, Some(&deployment.previous)).await {
            Ok(records) => Ok(records.iter().map(Record::shown).collect()),
            Err(failed) => {
                let why = failed.to_string();
                let left = place.records().await;
                match left.map(|all| all.iter().any(|record| record.deployment == deployment.id)) {
                    Ok(false) => Err(NotMigrated::Nothing(why)),
                    Ok(true) | Err(_) => Err(NotMigrated::Partly(why)),
                }
            }
        }
    }

    async fn revert(&self, deployment: &Deployment) -> Result<Vec<String>, NotReverted> {
        let Some(database) = &deployment.policy.database else { return Ok(Vec::new()) };
        if !self.leads() {
            return Err(NotReverted::Failed("this daemon does not lead any more".to_owned()));
        }
        let place = Place::of(database, &deployment.policy.env).map_err(NotReverted::Failed)?;
        let folder = place.folder(&deployment.version).await.map_err(NotReverted::Failed)?;
        match place.revert(doer(deployment), &folder, Consent::None).await {
            Ok(records) => Ok(records.iter().map(Record::shown).collect()),
            Err(Stays::Asks(reason)) => {
                let next = next(&deployment.plan.group, &deployment.id, &reason);
                Err(NotReverted::Ask { why: reason.to_string(), next })
            }
            Err(failed) => Err(NotReverted::Failed(failed.to_string())),
        }
    }
}

fn doer(deployment: &Deployment) -> Doer<'_> {
    let now = cutover_engine::clock::Clock::start().now();
    Doer { deployment: &deployment.id, version: &deployment.version, now }
}
