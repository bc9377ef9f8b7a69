//! `cutover database plan|migrate|revert|status|settle GROUP`

use std::io::{self, Write};

use clap::{Args, Subcommand};
use cutover_core::name::in_path;
use serde::Serialize;

use super::reason::Reason;
use super::terminal::plain;
use super::{CliError, Place};
use crate::api::{MigrateRequest, SettleRequest};
use crate::control::{DatabaseDone, DatabaseStatus, RevertRequest};

#[derive(Debug, Args)]
pub(super) struct Database {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show what a deployment of a version would apply; exit code 1 if it would be refused
    Plan(OfVersion),
    /// Apply the migrations of a version without a deployment
    Migrate(Migrate),
    /// Revert what the last deployment has applied
    Revert(Revert),
    /// Show what is applied, by which deployment and when
    Status(OfGroup),
    /// Say what became of a migration that was interrupted
    Settle(Settle),
}

#[derive(Debug, Args)]
struct OfGroup {
    /// The group
    group: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct OfVersion {
    #[command(flatten)]
    of: OfGroup,
    /// The version whose folder of migrations is read
    #[arg(long, default_value = "", hide_default_value = true)]
    version: String,
}

#[derive(Debug, Args)]
struct Migrate {
    #[command(flatten)]
    what: OfVersion,
    /// Apply them although the version that has the traffic may not be able to live with them
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    reason: Reason,
}

#[derive(Debug, Args)]
struct Revert {
    #[command(flatten)]
    of: OfGroup,
    /// The deployment [default: the one that has applied the last migration]
    #[arg(long, value_name = "ID")]
    deployment: Option<String>,
    /// The version whose folder has the files [default: the one that is recorded]
    #[arg(long)]
    version: Option<String>,
    /// Revert although data is lost
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    reason: Reason,
}

#[derive(Debug, Args)]
struct Settle {
    #[command(flatten)]
    of: OfGroup,
    /// The number of the migration
    number: u64,
    /// All of it is in the database
    #[arg(long, required_unless_present = "gone")]
    applied: bool,
    /// Nothing of it is in the database
    #[arg(long, conflicts_with = "applied")]
    gone: bool,
    #[command(flatten)]
    reason: Reason,
}

impl Database {
    pub(super) fn json(&self) -> bool {
        match &self.verb {
            Verb::Plan(OfVersion { of, .. }) | Verb::Status(of) | Verb::Revert(Revert { of, .. }) => of.json,
            Verb::Migrate(Migrate { what, .. }) => what.of.json,
            Verb::Settle(Settle { of, .. }) => of.json,
        }
    }

    pub(super) async fn run(self, place: &Place) -> Result<u8, CliError> {
        match self.verb {
            Verb::Plan(OfVersion { of, version }) => {
                let path =
                    format!("/v1/groups/{}/database?version={}", in_path(&of.group), in_path(&version));
                let status: DatabaseStatus = place.client()?.get(&path).await?;
                print((of.json, u8::from(status.refused.is_some())), &status, || plan(&status))
            }
            Verb::Status(of) => {
                let path = format!("/v1/groups/{}/database", in_path(&of.group));
                let status: DatabaseStatus = place.client()?.get(&path).await?;
                print((of.json, 0), &status, || applied(&status))
            }
            Verb::Migrate(Migrate { what: OfVersion { of, version }, yes, reason: Reason { reason } }) => {
                done(place, &of, "migrate", &MigrateRequest { version, yes, reason }, "applied").await
            }
            Verb::Revert(Revert { of, deployment, version, yes, reason: Reason { reason } }) => {
                done(place, &of, "revert", &RevertRequest { deployment, version, yes, reason }, "reverted")
                    .await
            }
            Verb::Settle(Settle { of, number, applied, reason: Reason { reason }, .. }) => {
                let what = if applied { "settled as applied:" } else { "settled as not there:" };
                done(place, &of, "settle", &SettleRequest { number, applied, reason }, what).await
            }
        }
    }
}

async fn done(
    place: &Place,
    of: &OfGroup,
    verb: &str,
    request: &impl Serialize,
    what: &str,
) -> Result<u8, CliError> {
    let path = format!("/v1/groups/{}/database/{verb}", in_path(&of.group));
    let done: DatabaseDone = place.client()?.post_and_wait(&path, request).await?;
    print((of.json, 0), &done, || match done.migrations.as_slice() {
        [] => "there was nothing to do\n".to_owned(),
        all => format!("{what} {} (deployment {})\n", all.join(", "), done.deployment),
    })
}

/// Prints an answer, and returns the exit code.
fn print(
    (json, exit_code): (bool, u8),
    value: &impl Serialize,
    text: impl FnOnce() -> String,
) -> Result<u8, CliError> {
    let mut out = io::stdout().lock();
    match json {
        true => writeln!(out, "{}", super::with_exit_code(value, exit_code))?,
        false => write!(out, "{}", plain(&text()))?,
    }
    Ok(exit_code)
}

fn plan(status: &DatabaseStatus) -> String {
    let version = status.version.as_deref().unwrap_or_default();
    let mut text = format!("{}\n", status.url);
    if let Some(refused) = &status.refused {
        text.push_str(&format!("a deployment of version \"{version}\" is refused: {refused}\n"));
    }
    for name in &status.apply {
        let late =
            if status.late.contains(name) { "  (its number is below one that is applied)" } else { "" };
        text.push_str(&format!("apply  {name}{late}\n"));
    }
    if status.apply.is_empty() && status.refused.is_none() {
        text.push_str("nothing to apply\n");
    }
    text
}

fn applied(status: &DatabaseStatus) -> String {
    let mut text = format!("{}\n", status.url);
    let width = status.applied.iter().map(|its| its.name.len()).max().unwrap_or_default();
    for its in &status.applied {
        text.push_str(&format!("{:width$}  {:9}  {}  {}\n", its.name, its.stage, its.at, its.deployment));
    }
    for its in status.applied.iter().filter(|its| its.stage != "applied") {
        let number = its.name.split('_').next().unwrap_or_default();
        text.push_str(&format!(
            "{} was interrupted: look at the database, and then type cutover database settle GROUP {number} with --applied or \
             --gone\n",
            its.name
        ));
    }
    if status.applied.is_empty() {
        text.push_str("nothing is applied\n");
    }
    text
}
