//! `[group.NAME.database]`: migrations that cutover applies and reverts itself.

use std::fmt;

use cutover_core::migration::OnRevert;
use cutover_core::placeholder::{self, Values};
use serde::{Deserialize, Deserializer, Serialize, de};

use super::value::{Duration, not_zero};
use super::{Command, Policy};

/// A database and the migrations of each version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// Its URL, or where that is: `env:NAME` or `file:PATH`.
    pub url: Secret,
    /// The folder with the migrations of a version. `{version}` stands for the version.
    pub migrations: MigrationsFolder,
    /// When a deployment that goes back reverts its migrations.
    #[serde(default)]
    pub revert: OnRevert,
    /// How long a migration waits for a lock.
    #[serde(default = "ten_seconds", deserialize_with = "not_zero")]
    pub lock_timeout: Duration,
    /// How long one migration may take.
    #[serde(default = "five_minutes", deserialize_with = "not_zero")]
    pub timeout: Duration,
}

/// A text that may contain a password. It is not shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

/// An absolute path that may contain `{version}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct MigrationsFolder(String);

impl Secret {
    /// The text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"***\"")
    }
}

impl MigrationsFolder {
    /// The folder of a version.
    pub fn of(&self, version: &str) -> String {
        placeholder::fill(&self.0, &Values { version: Some(version), ..Values::default() })
    }

    /// Whether each version has a folder of its own.
    pub fn has_version(&self) -> bool {
        placeholder::has_version(&self.0)
    }
}

impl<'de> Deserialize<'de> for MigrationsFolder {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if !text.starts_with('/') {
            return Err(de::Error::custom(format!(
                "\"{text}\" is not an absolute path, as in \"/srv/shop/{{version}}/migrations\""
            )));
        }
        placeholder::check_words(&text, &["version"]).map_err(de::Error::custom)?;
        Ok(Self(text))
    }
}

impl Policy {
    /// Fails if cutover and a command would both change the database, or if there is a plan of nothing. The error begins with the
    /// key.
    pub fn check_database(&self) -> Result<(), String> {
        let both = |key: &str| {
            Err(format!(
                "{key} and database exclude each other: either cutover applies the migrations of [group.NAME.database], or the \
                 command {key} does; remove one of the two"
            ))
        };
        let has = |command: &Option<Command>| command.is_some();
        match &self.database {
            Some(_) if has(&self.migrate) => both("migrate"),
            Some(_) if has(&self.revert) => both("revert"),
            Some(_) if has(&self.plan) => both("plan"),
            None if has(&self.plan) && !has(&self.migrate) => {
                Err("plan shows what migrate will do, and there is no migrate: add it, or remove plan"
                    .to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Whether a deployment changes a database.
    pub fn migrates(&self) -> bool {
        self.migrate.is_some() || self.database.is_some()
    }

    /// Whether a deployment that goes back may revert what it has migrated.
    pub fn reverts(&self) -> bool {
        self.revert.is_some()
            || self.database.as_ref().is_some_and(|database| database.revert != OnRevert::Never)
    }
}

fn ten_seconds() -> Duration {
    Duration::seconds(10)
}

fn five_minutes() -> Duration {
    Duration::seconds(300)
}
