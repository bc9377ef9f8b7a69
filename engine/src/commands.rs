//! The operator's commands.

use std::collections::BTreeMap;

use crate::policy;

/// A command and its environment.
#[derive(Clone, Debug)]
pub struct Job {
    /// What it is for, as in `migrate`; names the file of its output.
    pub name: String,
    /// The deployment that runs it.
    pub deployment: String,
    /// The program, its arguments, its limit.
    pub command: policy::Command,
    /// `CUTOVER_*` and the group's own variables.
    pub environment: BTreeMap<String, String>,
}

/// A command that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// One line: how it ended, the last line it wrote, where the rest is.
    pub reason: String,
    /// The end of what it wrote.
    pub tail: String,
    /// Its exit code, if it ended by itself.
    pub code: Option<i32>,
}

impl Failed {
    /// A command that could not be started.
    pub fn early(reason: String) -> Self {
        Self { reason, tail: String::new(), code: None }
    }
}

/// Runs commands.
pub trait Commands: Send + Sync + 'static {
    /// Runs a command to its end, within its limit. Dropping the future abandons it: see [`Commands::end`].
    fn run(&self, job: &Job) -> impl Future<Output = Result<(), Failed>> + Send;

    /// Ends the commands of a deployment that were abandoned, by a process that died or by a future that was dropped. The error
    /// says why they could not be looked for.
    fn end(&self, deployment: &str) -> impl Future<Output = Result<(), String>> + Send;

    /// Deletes the output of a deployment's commands.
    fn forget(&self, _deployment: &str) -> impl Future<Output = ()> + Send {
        async {}
    }
}
