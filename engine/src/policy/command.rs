//! A command of the operator in the policy.

use std::num::NonZeroU8;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::value::{Argv, Duration, not_zero};

/// A program with its arguments and its limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The program, an absolute path, and its arguments.
    pub command: Argv,
    /// Time limit. After it the whole process group is ended.
    #[serde(default = "five_minutes", deserialize_with = "not_zero")]
    pub timeout: Duration,
    /// The working directory. `None` is `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<PathBuf>,
    /// For `migrate` only: the exit code that means that it succeeded and applied nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nothing_applied: Option<NonZeroU8>,
}

fn five_minutes() -> Duration {
    Duration::seconds(300)
}
