//! A command of the operator in the policy.

use std::num::NonZeroU8;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, de};

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
    /// For `decommission` only: how long the old slot stays up after the warm window while it holds sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_for_sessions: Option<Duration>,
}

/// Deserializes `migrate`.
pub(super) fn migrate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Command>, D::Error> {
    without(deserializer, &[WAIT_FOR_SESSIONS])
}

/// Deserializes `decommission`.
pub(super) fn decommission<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Command>, D::Error> {
    without(deserializer, &[NOTHING_APPLIED])
}

/// Deserializes `provision` and `revert`.
pub(super) fn plain<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Command>, D::Error> {
    without(deserializer, &[NOTHING_APPLIED, WAIT_FOR_SESSIONS])
}

/// A key of one command only: its name, the command, and whether it is there.
type OfOne = (&'static str, &'static str, fn(&Command) -> bool);

const NOTHING_APPLIED: OfOne = ("nothing_applied", "migrate", |command| command.nothing_applied.is_some());
const WAIT_FOR_SESSIONS: OfOne =
    ("wait_for_sessions", "decommission", |command| command.wait_for_sessions.is_some());

fn without<'de, D: Deserializer<'de>>(deserializer: D, keys: &[OfOne]) -> Result<Option<Command>, D::Error> {
    let command = Option::<Command>::deserialize(deserializer)?;
    let foreign = command.as_ref().and_then(|command| keys.iter().find(|(_, _, is_there)| is_there(command)));
    match foreign {
        Some((key, only, _)) => Err(de::Error::custom(format!("\"{key}\" is allowed in {only} only"))),
        None => Ok(command),
    }
}

fn five_minutes() -> Duration {
    Duration::seconds(300)
}
