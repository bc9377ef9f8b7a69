//! The operator's commands.

use std::num::NonZeroU8;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::value::{Argv, Duration, not_zero};

/// A command: a program with its arguments and a limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The program, an absolute path, and its arguments.
    pub command: Argv,
    /// Ended, with all it started in its process group, after this long.
    #[serde(default = "five_minutes", deserialize_with = "not_zero")]
    pub timeout: Duration,
    /// The folder it runs in; absent: `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<PathBuf>,
    /// Of `migrate` only: the exit code that says that it succeeded and this deployment has applied nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nothing_applied: Option<NonZeroU8>,
}

fn five_minutes() -> Duration {
    Duration::seconds(300)
}
