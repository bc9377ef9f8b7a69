//! Where the database of a group is, and the operations on it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use cutover_core::deployment::Time;
use cutover_core::migration::{Folder, OnRevert, Record};
use cutover_database::{
    Batch, Consent, Found, Limits, NotMigrated, NotReverted, Url, look, migrate, read, records, revert,
};
use cutover_engine::policy;

/// How long a database may take to say what is applied. Operators and deployments of other groups may wait for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// A database as a policy has it.
#[derive(Debug)]
pub(crate) struct Place {
    url: Url,
    limits: Limits,
    on: OnRevert,
    migrations: policy::MigrationsFolder,
}

/// Who does something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doer<'a> {
    pub(crate) deployment: &'a str,
    pub(crate) version: &'a str,
    pub(crate) now: Time,
}

impl Place {
    /// Reads where the database is. `env`: the variables of the group, which count before those of this process. The error is
    /// one line.
    pub(crate) fn of(database: &policy::Database, env: &BTreeMap<String, String>) -> Result<Self, String> {
        let text = match written(database.url.reveal()) {
            Written::Variable(name) => match env.get(name).cloned().or_else(|| std::env::var(name).ok()) {
                Some(text) => text,
                None => {
                    return Err(format!(
                        "database.url \"env:{name}\": the daemon has no such variable: set it in [group.NAME] env, or in the \
                         environment of the daemon"
                    ));
                }
            },
            Written::File(path) => std::fs::read_to_string(path)
                .map_err(|error| format!("database.url \"file:{path}\": failed to read it: {error}"))?,
            Written::Here(text) => text.to_owned(),
        };
        let url = Url::parse(&text).map_err(|bad| format!("database.url: {bad}"))?;
        let limits = Limits { lock: database.lock_timeout.get(), migration: database.timeout.get() };
        Ok(Self { url, limits, on: database.revert, migrations: database.migrations.clone() })
    }

    /// Whether it is the same database, as far as the URLs tell.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.url.is_same(&other.url)
    }

    /// Its URL, without a password.
    pub(crate) fn shown(&self) -> String {
        self.url.to_string()
    }

    /// The migrations of a version.
    pub(crate) async fn folder(&self, version: &str) -> Result<Folder, String> {
        if self.migrations.has_version() && (version.contains('/') || matches!(version, "" | "." | "..")) {
            return Err(format!(
                "version \"{version}\" is not the name of a folder, as database.migrations needs it"
            ));
        }
        let path = PathBuf::from(self.migrations.of(version));
        let reading = tokio::task::spawn_blocking(move || read(&path));
        reading.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// What is recorded in the database.
    pub(crate) async fn records(&self) -> Result<Vec<Record>, String> {
        self.in_time(records(&self.url, self.limits)).await
    }

    /// Compares the database with a folder.
    pub(crate) async fn look(&self, folder: &Folder) -> Result<Found, String> {
        self.in_time(look(&self.url, self.limits, folder)).await
    }

    async fn in_time<T>(
        &self,
        reading: impl Future<Output = Result<T, cutover_database::DatabaseError>>,
    ) -> Result<T, String> {
        match tokio::time::timeout(PATIENCE, reading).await {
            Ok(read) => read.map_err(|error| error.to_string()),
            Err(_) => Err(format!(
                "{} does not answer within {}: look whether the server hangs",
                self.url,
                policy::Duration::from(PATIENCE)
            )),
        }
    }

    /// Applies what is missing.
    pub(crate) async fn migrate(
        &self,
        doer: Doer<'_>,
        folder: &Folder,
        live: Option<&str>,
    ) -> Result<Vec<Record>, NotMigrated> {
        migrate(&self.batch(doer), folder, live).await
    }

    /// Reverts what a deployment has applied.
    pub(crate) async fn revert(
        &self,
        doer: Doer<'_>,
        folder: &Folder,
        consent: Consent,
    ) -> Result<Vec<Record>, NotReverted> {
        revert(&self.batch(doer), folder, self.on, consent).await
    }

    /// Writes what became of an interrupted migration.
    pub(crate) async fn settle(
        &self,
        doer: Doer<'_>,
        number: u64,
        to: cutover_database::Settled,
    ) -> Result<Option<Record>, String> {
        let settled = cutover_database::settle(&self.batch(doer), number, to).await;
        settled.map_err(|error| error.to_string())
    }

    fn batch<'a>(&'a self, doer: Doer<'a>) -> Batch<'a> {
        let Doer { deployment, version, now } = doer;
        Batch { url: &self.url, limits: self.limits, deployment, version, now }
    }
}

enum Written<'a> {
    Variable(&'a str),
    File(&'a str),
    Here(&'a str),
}

fn written(text: &str) -> Written<'_> {
    match (text.strip_prefix("env:"), text.strip_prefix("file:")) {
        (Some(name), _) => Written::Variable(name),
        (None, Some(path)) => Written::File(path),
        (None, None) => Written::Here(text),
    }
}

/// Fails if the text in a configuration can be no URL. What it refers to may change, so that is not read.
pub(crate) fn check_url(text: &str) -> Result<(), String> {
    match written(text) {
        Written::Variable("") => Err("\"env:\" names no variable, as in \"env:DATABASE_URL\"".to_owned()),
        Written::File(path) if !path.starts_with('/') => {
            Err(format!("\"file:{path}\" needs an absolute path, as in \"file:/etc/shop/database-url\""))
        }
        Written::Variable(_) | Written::File(_) => Ok(()),
        Written::Here(text) => Url::parse(text).map(drop).map_err(|bad| bad.to_string()),
    }
}
