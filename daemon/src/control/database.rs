//! `cutover database`: what the engine would do with a database, by hand.
//!
//! While it changes the database, no deployment of the group begins, and while a deployment is under way, it does not begin.

use cutover_core::deployment::State;
use cutover_core::migration::{Record, Refused, Stage, too_old};
use cutover_core::shell::quoted;
use cutover_database::{Consent, NotMigrated, NotReverted, Settled};
use cutover_engine::clock::rfc3339;
use cutover_engine::policy::Policy;
use cutover_engine::world::World;
use serde::{Deserialize, Serialize};

use super::run::Rerun;
use super::{Control, Refusal};
use crate::journal::Entry;
use crate::migrations::{Doer, Place, next};

mod request;

pub use request::RevertRequest;

/// The database of a group, and what a version would apply.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DatabaseStatus {
    /// Its URL, without a password.
    pub url: String,
    /// What is applied, in that order.
    pub applied: Vec<AppliedMigration>,
    /// The version whose folder was read. `None`: none was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The names of what is to be applied.
    #[serde(default)]
    pub apply: Vec<String>,
    /// Those among them with a smaller number than one that is applied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub late: Vec<String>,
    /// Why a deployment of the version would be refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// A record of the table `cutover_migrations`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AppliedMigration {
    /// Number and name.
    pub name: String,
    /// `applied`; or `begun` or `reverting`, if it was interrupted.
    pub stage: String,
    /// The deployment that applied it.
    pub deployment: String,
    /// The version of that deployment.
    pub version: String,
    /// When.
    pub at: String,
}

/// What was done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DatabaseDone {
    /// The deployment under whose name it is recorded.
    pub deployment: String,
    /// The names of the migrations.
    pub migrations: Vec<String>,
}

impl<W: World> Control<W> {
    /// The records of a database. With a version, also what that version would apply.
    pub async fn database(&self, group: &str, version: Option<&str>) -> Result<DatabaseStatus, Refusal> {
        let (policy, place) = self.place(group).await?;
        let mut status = DatabaseStatus {
            url: place.shown(),
            applied: Vec::new(),
            version: version.map(str::to_owned),
            apply: Vec::new(),
            late: Vec::new(),
            refused: None,
        };
        let records = match version {
            None => place.records().await.map_err(Refusal::Database)?,
            Some(version) => {
                let folder = place.folder(version).await.map_err(Refusal::Database)?;
                let found = place.look(&folder).await.map_err(Refusal::Database)?;
                match found.plan {
                    Ok(plan) => {
                        let names = |all: Vec<_>| all.into_iter().map(shown).collect();
                        status.apply = names(plan.apply.iter().collect());
                        status.late = names(plan.late());
                        let live = self.live_version(group, &policy).await;
                        status.refused =
                            too_old(&folder, &plan, &live).err().map(|refused| refused.to_string());
                    }
                    Err(refused) => status.refused = Some(said(group, &refused)),
                }
                found.records
            }
        };
        status.applied = records.into_iter().map(AppliedMigration::from).collect();
        Ok(status)
    }

    /// Applies the migrations of a version. With `yes` it does not ask whether the version that has the traffic can live with them.
    pub async fn migrate_database(
        &self,
        group: &str,
        version: &str,
        yes: bool,
        asked_by: &str,
    ) -> Result<DatabaseDone, Refusal> {
        self.leading()?;
        let (policy, place) = self.place(group).await?;
        self.has_own_database(group)?;
        let folder = place.folder(version).await.map_err(Refusal::Database)?;
        let now = self.clock.now();
        let stamp: String = rfc3339(now).chars().take(19).filter(char::is_ascii_alphanumeric).collect();
        // Two in one second are two: what is reverted together must have been applied together.
        let deployment = format!("by-hand-{}-{:03}", stamp.replace('T', "-"), now.0 % 1000);
        let (id, version, group_name) = (deployment.clone(), version.to_owned(), group.to_owned());
        let work = move |live: String| async move {
            let doer = Doer { deployment: &id, version: &version, now };
            match place.migrate(doer, &folder, (!yes).then_some(live.as_str())).await {
                Ok(records) => Ok(records.iter().map(Record::shown).collect::<Vec<_>>()),
                Err(NotMigrated::Refused(
                    refused @ (Refused::TooOld { .. } | Refused::Unknown { .. } | Refused::NoOrder { .. }),
                )) => Err(Refusal::DatabaseAsks {
                    next: format!(
                        "cutover database migrate {} --version {} --yes",
                        quoted(&group_name),
                        quoted(&version)
                    ),
                    why: refused.to_string(),
                }),
                Err(NotMigrated::Refused(refused)) => Err(Refusal::Database(said(&group_name, &refused))),
                Err(failed) => Err(Refusal::Database(failed.to_string())),
            }
        };
        let begin = async { Ok((None, work(self.live_version(group, &policy).await))) };
        let migrations = self.alone(group, &deployment, begin).await?;
        tracing::info!(group, asked_by, deployment, "migrated by hand: {}", migrations.join(", "));
        self.did(Some(group), &format!("migrated {}", migrations.join(", ")), (asked_by, "")).await;
        Ok(DatabaseDone { deployment, migrations })
    }

    /// Reverts what a deployment has applied.
    pub async fn revert_database(
        &self,
        group: &str,
        wanted: RevertRequest,
        asked_by: &str,
    ) -> Result<DatabaseDone, Refusal> {
        self.leading()?;
        let (_, place) = self.place(group).await?;
        let records = place.records().await.map_err(Refusal::Database)?;
        let last = match &wanted.deployment {
            None => records.last(),
            Some(wanted) => records.iter().rev().find(|record| record.deployment == *wanted),
        };
        let Some(last) = last.cloned() else {
            let whose = wanted.deployment.map_or_else(String::new, |id| format!(" by deployment \"{id}\""));
            return Err(Refusal::Database(format!(
                "nothing is applied{whose}, so there is nothing to revert; to see what is: cutover database status {}",
                quoted(group)
            )));
        };
        let version = wanted.version.clone().unwrap_or_else(|| last.version.clone());
        let folder = place.folder(&version).await.map_err(Refusal::Database)?;
        let (deployment, group_name, now) = (last.deployment.clone(), group.to_owned(), self.clock.now());
        let consent = if wanted.yes { Consent::Given } else { Consent::None };
        let (control, by) = (self.clone(), asked_by.to_owned());
        let work = move |entry: Option<Entry>| async move {
            let doer = Doer { deployment: &deployment, version: &version, now };
            let reverted = match place.revert(doer, &folder, consent).await {
                Ok(records) => records.iter().map(Record::shown).collect::<Vec<_>>(),
                Err(NotReverted::Asks(reason)) => {
                    let next = next(&group_name, &deployment, &reason);
                    return Err(Refusal::DatabaseAsks { why: reason.to_string(), next });
                }
                Err(failed) => return Err(Refusal::Database(failed.to_string())),
            };
            tracing::info!(
                group = group_name,
                asked_by = by,
                deployment,
                "reverted by hand: {}",
                reverted.join(", ")
            );
            control.did(Some(&group_name), &format!("reverted {}", reverted.join(", ")), (&by, "")).await;
            if let Some(entry) = entry {
                control.reverted(entry, &by).await?;
            }
            Ok(reverted)
        };
        // Nothing moves traffic to the version between this look and the revert.
        let begin = async {
            let entry = self.journal.entry(&last.deployment).await?;
            let slot = self.may_revert(group, &last, entry.as_ref(), &wanted).await?;
            Ok((slot, work(entry)))
        };
        let migrations = self.alone(group, &last.deployment, begin).await?;
        Ok(DatabaseDone { deployment: last.deployment, migrations })
    }

    /// Writes what became of an interrupted migration.
    pub async fn settle_database(
        &self,
        group: &str,
        number: u64,
        applied: bool,
        asked_by: &str,
    ) -> Result<DatabaseDone, Refusal> {
        self.leading()?;
        let (_, place) = self.place(group).await?;
        let (to, now) = (if applied { Settled::Applied } else { Settled::Gone }, self.clock.now());
        let group_name = group.to_owned();
        let work = async move {
            let doer = Doer { deployment: "settle", version: "", now };
            let settled = place.settle(doer, number, to).await.map_err(Refusal::Database)?;
            settled.ok_or_else(|| {
                Refusal::Database(format!(
                    "migration {number} is not interrupted, so there is nothing to settle; to see what is applied: cutover \
                     database status {}",
                    quoted(&group_name)
                ))
            })
        };
        let record = self.alone(group, "settle", async { Ok((None, work)) }).await?;
        tracing::warn!(group, asked_by, applied, "settled {} by hand", record.shown());
        let what = if applied { "applied" } else { "gone" };
        self.did(Some(group), &format!("settled {} as {what}", record.shown()), (asked_by, "")).await;
        Ok(DatabaseDone { migrations: vec![record.shown()], deployment: record.deployment })
    }

    async fn place(&self, group: &str) -> Result<(Policy, Place), Refusal> {
        let policy = self.policy_or_last(group).await?;
        let Some(database) = &policy.database else {
            return Err(Refusal::Database(format!(
                "group \"{group}\" has no [group.{group}.database]; its database is changed by its commands migrate and revert"
            )));
        };
        let place = Place::of(database, &policy.env).map_err(Refusal::Database)?;
        Ok((policy, place))
    }

    /// The version that has the traffic; empty if it is not known.
    async fn live_version(&self, group: &str, policy: &Policy) -> String {
        let fleet = self.world.fleet(&policy.edges);
        let Ok(look) = fleet.look(group).await else { return String::new() };
        let version = self.journal.version_in(group, &look.group.route.active).await;
        version.ok().flatten().unwrap_or_default()
    }

    /// Fails if the version of the migrations has traffic, or may have it. Returns the slot that holds the version.
    async fn may_revert(
        &self,
        group: &str,
        last: &Record,
        entry: Option<&Entry>,
        wanted: &RevertRequest,
    ) -> Result<Option<String>, Refusal> {
        let asks = |why: String| {
            let again = format!(
                "cutover database revert {} --deployment {} --yes",
                quoted(group),
                quoted(&last.deployment)
            );
            Err(Refusal::DatabaseAsks { why, next: again })
        };
        let Some(entry) = entry else {
            return match wanted.yes {
                true => Ok(None),
                false => asks(format!(
                    "{} was applied by \"{}\", which is no deployment of this daemon, and the version that has the traffic may \
                     need it",
                    last.shown(),
                    last.deployment
                )),
            };
        };
        let is_last = self.journal.history(Some(group), 1).await?.pop();
        let is_last = is_last.is_some_and(|last| last.deployment.id == entry.deployment.id);
        if is_last {
            // The slot that holds its version.
            let slot = &entry.deployment.plan.to;
            self.may_touch(group, slot, Rerun::Revert).await?;
            return Ok(Some(slot.clone()));
        }
        match wanted.yes && wanted.deployment.is_some() {
            true => Ok(None),
            false => asks(format!(
                "deployment \"{}\" is not the last one, and a later one may need its migrations",
                last.deployment
            )),
        }
    }

    /// Records that the migrations of a deployment are reverted, so that nobody is asked for it any more.
    async fn reverted(&self, entry: Entry, asked_by: &str) -> Result<(), Refusal> {
        let how = format!("the database was reverted by {asked_by}");
        let needs_operator = entry.state.phase.needs_operator();
        let state = State { migrated: false, ..entry.state.clone() };
        let state = if needs_operator { state.settled(how.clone()) } else { state };
        self.journal.append(&entry.deployment.id, self.clock.now(), &state, &how).await?;
        if needs_operator {
            self.no_longer_stuck(&entry.deployment.plan.group);
        }
        Ok(())
    }
}

impl From<Record> for AppliedMigration {
    fn from(record: Record) -> Self {
        Self {
            name: record.shown(),
            stage: record.stage.as_str().to_owned(),
            deployment: record.deployment,
            version: record.version,
            at: rfc3339(record.at),
        }
    }
}

fn shown(migration: &cutover_core::migration::Migration) -> String {
    format!("{:04}_{}", migration.number, migration.name)
}

/// A refusal, with the command that helps if one does.
fn said(group: &str, refused: &Refused) -> String {
    match refused {
        Refused::Half { record, .. } => {
            let (group, number) = (quoted(group), record.number);
            let gone = match record.stage {
                Stage::Reverting => "--gone, if it is reverted; --applied, if nothing of it is reverted",
                _ => "--applied, if all of it is there; --gone, if nothing of it is",
            };
            format!("{refused}: cutover database settle {group} {number} with {gone}")
        }
        refused => refused.to_string(),
    }
}
