//! Why an operation on a database failed.

use std::time::Duration;

use cutover_core::migration::RowsError;

use crate::url::BadUrl;

/// Why an operation failed. No text has a password.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The URL cannot be used.
    #[error(transparent)]
    Url(#[from] BadUrl),
    /// There is no connection.
    #[error("failed to connect to {url}: {why}")]
    Connect {
        /// The database, without its password.
        url: String,
        /// The reason.
        why: String,
    },
    /// Somebody else holds the lock.
    #[error("the lock of the migrations was not free within {}: {by}", humane(*.waited))]
    Locked {
        /// Who holds it.
        by: String,
        /// The wait.
        waited: Duration,
    },
    /// The connection ended, and nothing was left half done.
    #[error("lost the connection: {0}")]
    Lost(String),
    /// The database refused a statement.
    #[error("{0}")]
    Statement(String),
    /// It took too long.
    #[error("did not end within {}{}", humane(*.0), .1)]
    TooLong(Duration, String),
    /// The script begins or ends transactions of its own.
    #[error(
        "{0} has {1}: each migration is in a transaction already; remove it, or mark the file with \"-- cutover: no-transaction\""
    )]
    OwnTransaction(String, String),
    /// The table has a record that this program has not written.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// The table has another form.
    #[error("the table cutover_migrations is not understood: {0}")]
    Table(String),
}

impl DatabaseError {
    /// A lost connection, and why there was no other.
    pub(crate) fn and_then(&self, error: &Self) -> Self {
        match self {
            Self::Lost(why) => Self::Lost(format!("{why}; and then: {error}")),
            other => Self::Lost(format!("{other}; and then: {error}")),
        }
    }

    /// Whether what was under way may have been done or not.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self, Self::Lost(_))
    }
}

/// A duration for people.
pub(crate) fn humane(duration: Duration) -> String {
    match (duration.as_secs(), duration.subsec_millis()) {
        (0, millis) => format!("{millis}ms"),
        (seconds, _) if seconds % 60 == 0 => format!("{}min", seconds / 60),
        (seconds, 0) => format!("{seconds}s"),
        (seconds, millis) => format!("{seconds}.{millis:03}s"),
    }
}
