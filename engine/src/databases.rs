//! The trait that applies and reverts the migrations of a deployment, for a group with `[group.NAME.database]`.
//!
//! The database itself records what a deployment has applied. So both operations are idempotent: after a restart they
//! continue where the last one ended.

use crate::journal::Deployment;

/// Migrations are not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotMigrated {
    /// Nothing of this deployment is in the database. One line says why.
    Nothing(String),
    /// Some of it may be, and a revert finds out.
    Partly(String),
}

/// Migrations are not reverted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotReverted {
    /// An operator has to decide.
    Ask {
        /// One line: what would be lost.
        why: String,
        /// The command to type.
        next: String,
    },
    /// A later try may succeed.
    Failed(String),
}

/// Applies and reverts migrations.
pub trait Databases: Send + Sync + 'static {
    /// Applies what is missing. Returns the names of what this deployment has applied. Dropping the future ends the
    /// statement that runs.
    fn migrate(
        &self,
        deployment: &Deployment,
    ) -> impl Future<Output = Result<Vec<String>, NotMigrated>> + Send;

    /// Reverts what this deployment has applied, the newest first, if nothing is lost. Returns the names.
    fn revert(
        &self,
        deployment: &Deployment,
    ) -> impl Future<Output = Result<Vec<String>, NotReverted>> + Send;
}
