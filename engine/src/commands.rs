//! The trait that runs the operator's commands.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::asking::Asked;
use crate::figures::Point;
use crate::policy;

/// Maximum length in bytes of an answer in the result of a smoke test.
const MOST_ANSWER: usize = 1024;

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

    /// The end of its output, for below a message that has the reason; empty if it is one line, which the reason has.
    pub fn below(&self) -> String {
        match self.tail.lines().count() {
            0 | 1 => String::new(),
            _ => format!("\n{}", self.tail.trim_end()),
        }
    }
}

/// What a smoke test of one server has come to. It is kept with the deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SmokeResult {
    /// The name of the test.
    pub name: String,
    /// The server. Empty for a command, which tests all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub peer: String,
    /// What was sent, as in `/products` or `POST /orders`.
    pub sent: String,
    /// What came back, in a few words, as in `status 200`.
    pub came: String,
    /// How long it took.
    pub milliseconds: u64,
    /// Why it failed. `None`: it passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// The beginning of the answer, at most 1 KiB.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub answer: String,
}

impl SmokeResult {
    /// The result of a check.
    pub fn of(name: &str, peer: &str, asked: &Asked, verdict: &Result<(), String>) -> Self {
        let body = asked.answer().map(|answer| answer.body.as_slice()).unwrap_or_default();
        let begin = body.get(..MOST_ANSWER.min(body.len())).unwrap_or_default();
        Self {
            name: name.to_owned(),
            peer: peer.to_owned(),
            sent: asked.sent.clone(),
            came: asked.came(),
            milliseconds: u64::try_from(asked.took.as_millis()).unwrap_or(u64::MAX),
            failed: verdict.clone().err(),
            answer: String::from_utf8_lossy(begin).into_owned(),
        }
    }
}

/// Runs commands, and keeps what tests have come to beside their output.
pub trait Commands: Send + Sync + 'static {
    /// Runs a command to its end, within its time limit. Dropping the future abandons the command, see [`Commands::end`].
    fn run(&self, job: &Job) -> impl Future<Output = Result<(), Failed>> + Send {
        async { self.output(job).await.map(drop) }
    }

    /// The same, and returns the end of the command's output.
    fn output(&self, job: &Job) -> impl Future<Output = Result<String, Failed>> + Send;

    /// Ends the abandoned commands of a deployment: those of a killed process, and those of a dropped future. Fails if the commands
    /// cannot be looked up.
    fn end(&self, deployment: &str) -> impl Future<Output = Result<(), String>> + Send;

    /// Keeps the result of a smoke test. A failure is only logged.
    fn keep(&self, _deployment: &str, _result: &SmokeResult) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// The results of the smoke tests of a deployment, the oldest first. Empty if there are none on this host.
    fn kept(&self, _deployment: &str) -> impl Future<Output = Vec<SmokeResult>> + Send {
        async { Vec::new() }
    }

    /// Keeps a point of the figures of a deployment. It never waits: a point that cannot be kept is lost.
    fn keep_figures(&self, _deployment: &str, _point: Point) {}

    /// The folder with the output of a deployment's commands and with its figures. `None`: nothing is kept.
    fn folder(&self, _deployment: &str) -> Option<PathBuf> {
        None
    }

    /// Deletes the output of a deployment's commands, the results of its smoke tests, and its figures.
    fn forget(&self, _deployment: &str) -> impl Future<Output = ()> + Send {
        async {}
    }
}
