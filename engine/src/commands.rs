//! The trait that runs the operator's commands.

use std::collections::BTreeMap;

use crate::policy;

/// A command and its environment.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its name, as in `migrate`. The file of its output has this name.
    pub name: String,
    /// The deployment that runs it.
    pub deployment: String,
    /// The program, its arguments and its time limit.
    pub command: policy::Command,
    /// `CUTOVER_*` and the group's own variables.
    pub environment: BTreeMap<String, String>,
}

/// A failed command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// One line: how it ended, its last line of output, and where the rest of the output is.
    pub reason: String,
    /// The end of its output.
    pub tail: String,
    /// Its exit code, if it exited.
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
    /// Runs a command to its end, within its time limit. Dropping the future abandons the command, see [`Commands::end`].
    fn run(&self, job: &Job) -> impl Future<Output = Result<(), Failed>> + Send;

    /// Like [`Commands::run`]. Returns the end of the output.
    fn output(&self, job: &Job) -> impl Future<Output = Result<String, Failed>> + Send {
        async { self.run(job).await.map(|()| String::new()) }
    }

    /// Ends the abandoned commands of a deployment: those of a killed process, and those of a dropped future. Fails if the commands
    /// cannot be looked up.
    fn end(&self, deployment: &str) -> impl Future<Output = Result<(), String>> + Send;

    /// Deletes the output of a deployment's commands.
    fn forget(&self, _deployment: &str) -> impl Future<Output = ()> + Send {
        async {}
    }
}
