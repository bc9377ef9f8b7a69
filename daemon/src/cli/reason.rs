//! `--reason`, for verbs that change something.

use clap::Args;

/// Why the operator does it.
#[derive(Debug, Default, Args)]
pub(super) struct Reason {
    /// The reason, for the history and the log
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
}
