//! The hooks of a group: commands that are told what has happened, and decide nothing.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::command::Command;
use super::value::{Argv, Duration, not_zero};

/// `[group.NAME.switched]`: is told of each change of the route, whoever made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switched {
    /// The program, an absolute path, and its arguments.
    pub command: Argv,
    /// Time limit. The next change is told after it at the latest.
    #[serde(default = "a_minute", deserialize_with = "not_zero")]
    pub timeout: Duration,
    /// The working directory. `None` is `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<PathBuf>,
    /// Whether it is told of each share of a slot, too, and not only when a slot has all of the traffic.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub each_step: bool,
}

/// `[group.NAME.diagnose]`: says why a new version has failed, before it is stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Diagnose {
    /// The program, an absolute path, and its arguments.
    pub command: Argv,
    /// Time limit. It delays the stop of the new version by at most this.
    #[serde(default = "ten_seconds", deserialize_with = "not_zero")]
    pub timeout: Duration,
    /// The working directory. `None` is `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<PathBuf>,
}

impl Switched {
    /// The command to run.
    pub fn to_run(&self) -> Command {
        command(&self.command, self.timeout, self.cwd.as_ref())
    }
}

impl Diagnose {
    /// The command to run.
    pub fn to_run(&self) -> Command {
        command(&self.command, self.timeout, self.cwd.as_ref())
    }
}

fn command(command: &Argv, timeout: Duration, cwd: Option<&PathBuf>) -> Command {
    Command {
        command: command.clone(),
        timeout,
        cwd: cwd.cloned(),
        nothing_applied: None,
        wait_for_sessions: None,
    }
}

fn a_minute() -> Duration {
    Duration::seconds(60)
}

fn ten_seconds() -> Duration {
    Duration::seconds(10)
}
