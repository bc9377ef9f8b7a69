//! Applies and reverts the migrations of a deployment in SQLite, PostgreSQL, MySQL and MariaDB.
//!
//! ```text
//! engine --- operations: look, migrate, revert, settle --- cutover_core::migration decides
//!                 |
//!              Session --- sqlite (rusqlite), postgres (tokio-postgres), mysql (mysql_async)
//! ```
//!
//! The table `cutover_migrations` in the same database says what is applied. Where the database can, a migration and its record are
//! one transaction. Where it cannot, the record says first that the migration was begun, so one that was interrupted is found
//! and never repeated.

#![forbid(unsafe_code)]

mod error;
mod files;
mod mysql;
mod operations;
mod postgres;
mod request;
mod session;
mod sql;
mod sqlite;
mod tls;
mod url;

pub use error::DatabaseError;
pub use files::{FilesError, read};
pub use operations::{
    Batch, Consent, Found, NotMigrated, NotReverted, Settled, look, migrate, records, revert, settle,
};
pub use url::{BadUrl, Kind, Limits, Url};
