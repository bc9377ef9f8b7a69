//! What a deployment, or an operator, does with a database.

use std::time::Duration;

use cutover_core::deployment::Time;
use cutover_core::migration::{
    Folder, Migration, OnRevert, Plan, Reason, Record, Refused, Rows, Stage, plan, too_old, undo, why_ask,
};

use crate::error::DatabaseError;
use crate::request::{Apply, Settle};
use crate::session::Session;
use crate::sql;
use crate::url::{Limits, Url};

/// How long a lost server may take to answer again, until it is known what it has committed.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(200);

/// Who applies or reverts, and where.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    /// The database.
    pub url: &'a Url,
    /// How long it may take.
    pub limits: Limits,
    /// The deployment.
    pub deployment: &'a str,
    /// Its version.
    pub version: &'a str,
    /// The time for the records.
    pub now: Time,
}

/// What a database and a folder say together.
#[derive(Debug)]
pub struct Found {
    /// The records, in the order in which they were applied.
    pub records: Vec<Record>,
    /// What is to be applied, or why nothing may be.
    pub plan: Result<Plan, Refused>,
}

/// The consent of an operator to a revert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// Nobody was asked.
    None,
    /// Whatever is lost, the operator wants it.
    Given,
}

/// What an operator says about an interrupted migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// All of it is in the database.
    Applied,
    /// Nothing of it is in the database.
    Gone,
}

/// Why not all migrations are applied.
#[derive(Debug, thiserror::Error)]
pub enum NotMigrated {
    /// Nothing may be applied.
    #[error(transparent)]
    Refused(Refused),
    /// A migration failed.
    #[error("{file}: {why}; {left}")]
    Script {
        /// The file.
        file: String,
        /// Why.
        why: DatabaseError,
        /// What is in the database of it.
        left: &'static str,
    },
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// Why not all migrations are reverted.
#[derive(Debug, thiserror::Error)]
pub enum NotReverted {
    /// An operator has to say so, or to do something.
    #[error(transparent)]
    Asks(Reason),
    /// A migration could not be reverted.
    #[error("{file}: {why}")]
    Script {
        /// The file.
        file: String,
        /// Why.
        why: DatabaseError,
    },
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// Compares a folder with the database. Changes nothing and takes no lock.
pub async fn look(url: &Url, limits: Limits, folder: &Folder) -> Result<Found, DatabaseError> {
    let records = records(url, limits).await?;
    let plan = plan(folder, &records);
    Ok(Found { records, plan })
}

/// The records of the database, in the order in which they were applied.
pub async fn records(url: &Url, limits: Limits) -> Result<Vec<Record>, DatabaseError> {
    Session::open(url, limits, "status").await?.records().await
}

/// Applies what is missing. `live`: the version that has the traffic, which must be able to live with it; `None` does not ask.
/// Returns the records of the deployment.
pub async fn migrate(
    batch: &Batch<'_>,
    folder: &Folder,
    live: Option<&str>,
) -> Result<Vec<Record>, NotMigrated> {
    let mut session = locked(batch).await?;
    let mut records = session.records().await?;
    let plan = plan(folder, &records).map_err(NotMigrated::Refused)?;
    // A daemon that was killed may not have come so far. Nothing of the version has run since.
    for record in records.iter().filter(|record| record.deployment == batch.deployment) {
        if let Some(migration) = folder.get(record.number).filter(|_| record.stage == Stage::Applied) {
            count(&mut session, batch, migration).await?;
        }
    }
    if let Some(live) = live {
        too_old(folder, &plan, live).map_err(NotMigrated::Refused)?;
    }
    for migration in &plan.apply {
        let apply = batch.apply(migration, &records);
        let file = || migration.up.file.clone();
        let done = session.apply(apply.clone()).await;
        if let Err(why) = done {
            // The lock is free when the server has ended the session, and then the record says whether it was committed.
            if !why.is_lost() {
                return Err(NotMigrated::Script {
                    file: file(),
                    left: left(batch.url, migration, &why),
                    why,
                });
            }
            drop(session);
            session = locked_again(batch).await.map_err(|error| NotMigrated::Script {
                file: file(),
                why: why.and_then(&error),
                left: "it is not known whether it is applied; the table cutover_migrations says so",
            })?;
            let stage = session.records().await?;
            let stage =
                stage.iter().find(|record| record.number == migration.number).map(|record| record.stage);
            match stage {
                Some(Stage::Applied) => {}
                Some(_) => {
                    let left = "it was begun, and how far it came is not known";
                    return Err(NotMigrated::Script { file: file(), why, left });
                }
                None => {
                    let left = "nothing of it is applied";
                    return Err(NotMigrated::Script { file: file(), why, left });
                }
            }
        }
        tracing::info!(deployment = batch.deployment, file = migration.up.file, "applied a migration");
        count(&mut session, batch, migration).await?;
        records.push(apply.record);
    }
    Ok(records.into_iter().filter(|record| record.deployment == batch.deployment).collect())
}

/// Records what is in the tables and columns that the revert of a migration would drop. If that fails, it stays unknown, and an
/// operator is asked before the revert.
async fn count(session: &mut Session, batch: &Batch<'_>, migration: &Migration) -> Result<(), DatabaseError> {
    let things = sql::drops(batch.url.kind(), migration).things;
    let mut counted = session.count(migration.number, &things).await;
    if counted.as_ref().is_err_and(DatabaseError::is_lost) {
        *session = locked_again(batch).await?;
        counted = session.count(migration.number, &things).await;
    }
    if let Err(why) = counted {
        let file = &migration.up.file;
        tracing::warn!(deployment = batch.deployment, file, %why, "failed to count the rows that a revert would lose");
    }
    Ok(())
}

/// Reverts what the deployment of the batch has applied, the newest first. `folder` is that of its version. Returns what was
/// reverted.
pub async fn revert(
    batch: &Batch<'_>,
    folder: &Folder,
    on: OnRevert,
    consent: Consent,
) -> Result<Vec<Record>, NotReverted> {
    let mut session = locked(batch).await?;
    let records = session.records().await?;
    let kind = batch.url.kind();
    let all = undo(folder, &records, batch.deployment, |migration| sql::drops(kind, migration));
    let things = all.iter().flat_map(|undo| undo.drops.things.iter().cloned()).collect();
    let now = session.measure(&things).await?;
    let yields = |reason: &Reason| consent == Consent::Given && reason.yields();
    // All are looked at before the first is reverted.
    if let Some(reason) = why_ask(on, &all, &records, &now).filter(|reason| !yields(reason)) {
        return Err(NotReverted::Asks(reason));
    }
    if consent == Consent::Given {
        // The first reason may hide one that no consent is enough for.
        let stays = all.iter().find_map(|undo| {
            why_ask(on, std::slice::from_ref(undo), &[], &Rows::default()).filter(|reason| !reason.yields())
        });
        if let Some(reason) = stays {
            return Err(NotReverted::Asks(reason));
        }
    }
    let mut reverted = Vec::new();
    for undo in all {
        let one = std::slice::from_ref(&undo);
        let check = |now: &Rows| why_ask(on, one, &[], now).filter(|reason| !yields(reason));
        let file = || undo.down.as_ref().map(|down| down.file.clone()).unwrap_or_default();
        match session.revert(&undo, &check).await {
            Ok(None) => {}
            Ok(Some(reason)) => return Err(NotReverted::Asks(reason)),
            Err(why) if why.is_lost() => {
                drop(session);
                session = locked_again(batch).await?;
                let records = session.records().await?;
                if records.iter().any(|record| record.number == undo.record.number) {
                    return Err(NotReverted::Script { file: file(), why });
                }
            }
            Err(why) => return Err(NotReverted::Script { file: file(), why }),
        }
        tracing::info!(deployment = batch.deployment, file = file(), "reverted a migration");
        reverted.push(undo.record);
    }
    Ok(reverted)
}

/// Writes what became of an interrupted migration. Returns its record before, or `None` if it is not interrupted.
pub async fn settle(batch: &Batch<'_>, number: u64, to: Settled) -> Result<Option<Record>, DatabaseError> {
    let mut session = locked(batch).await?;
    let records = session.records().await?;
    let Some(record) =
        records.into_iter().find(|record| record.number == number && record.stage != Stage::Applied)
    else {
        return Ok(None);
    };
    let to = match to {
        Settled::Applied => Settle::Applied,
        Settled::Gone => Settle::Gone,
    };
    session.settle(number, to).await?;
    Ok(Some(record))
}

impl Batch<'_> {
    fn apply(&self, migration: &Migration, records: &[Record]) -> Apply {
        let things = sql::drops(self.url.kind(), migration).things;
        let record = Record {
            number: migration.number,
            name: migration.name.clone(),
            checksum: migration.up.checksum.clone(),
            deployment: self.deployment.to_owned(),
            version: self.version.to_owned(),
            stage: Stage::Applied,
            at: self.now,
            rows: Rows::default(),
        };
        Apply { migration: migration.clone(), things, record, position: records.len() as u64 + 1 }
    }
}

async fn locked(batch: &Batch<'_>) -> Result<Session, DatabaseError> {
    let mut session = Session::open(batch.url, batch.limits, batch.deployment).await?;
    session.lock().await?;
    Ok(session)
}

/// The same after the connection was lost: the server may be starting again.
async fn locked_again(batch: &Batch<'_>) -> Result<Session, DatabaseError> {
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        match locked(batch).await {
            Err(DatabaseError::Connect { .. } | DatabaseError::Lost(_))
                if tokio::time::Instant::now() < until =>
            {
                tokio::time::sleep(PAUSE).await;
            }
            done => return done,
        }
    }
}

/// What is in the database of a migration that failed.
fn left(url: &Url, migration: &Migration, why: &DatabaseError) -> &'static str {
    let undone = "nothing of it is applied";
    match (url.kind(), why) {
        (_, DatabaseError::OwnTransaction(..)) => undone,
        (crate::Kind::Mysql, _) if !sql::changes_rows_only(&migration.up.text) => {
            "if it was not its first statement, a part of it is applied"
        }
        _ if migration.up.marks.no_transaction => "a part of it may be applied",
        _ => undone,
    }
}
