//! The command line, with one file per verb.

use std::io::ErrorKind;
use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand};
use serde::Serialize;

use crate::config::ConfigError;

mod abort;
#[cfg(test)]
mod advised;
mod check;
mod client;
mod codes;
mod completions;
mod database;
mod deploy;
mod dial_stdio;
mod direct;
mod failure;
mod follow;
mod freeze;
mod greeting;
mod history;
mod host;
mod logs;
mod man;
mod myself;
mod pause;
mod place;
mod promote;
mod reason;
mod report;
mod resume;
mod rollback;
mod run;
mod screen;
mod serve;
mod ssh;
mod status;
mod steer;
mod switch;
mod terminal;
mod undo;
mod unfreeze;
mod waiting;
mod watch;
mod width;

pub use client::ClientError;
pub use dial_stdio::DialError;
pub use direct::DirectError;
pub use place::PlaceError;
pub use ssh::SshError;

use place::Place;

const EXAMPLES: &str = "\
Examples:
  cutover check                             say what is wrong with the configuration
  cutover deploy shop --version 2.1         deploy a version, and wait for the outcome
  cutover status shop                       show where the traffic goes
  cutover rollback shop                     go back to the version before
  cutover --host ssh://user@edge status     ask the daemon of another machine";

/// The exit codes of the verbs that end with the outcome of a deployment.
const OUTCOMES: &str = "\
Exit codes: 0 completed, 1 error, 3 failed before the switch (no traffic moved), 4 rolled back, 5 stuck, 6 another deployment
is in the way, 130 interrupted. The deployment runs in the daemon: it goes on if this command is interrupted.";

/// Blue-green deployment with automatic rollback for nginx.
///
/// Exit codes: 0 done, 1 error, 2 usage, 3 failed before the switch (no traffic moved), 4 rolled back, 5 stuck, 6 busy: another
/// deployment is in the way, 130 interrupted while it followed a deployment, which goes on.
#[derive(Debug, Parser)]
#[command(name = "cutover", version, after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the daemon
    Serve(serve::Serve),
    /// Deploy a version to the standby slot, switch to it, watch it, and roll back if it is bad
    #[command(after_help = OUTCOMES)]
    Deploy(deploy::Deploy),
    /// Follow the last deployment to its outcome; the exit code is that of deploy
    #[command(after_help = OUTCOMES)]
    Watch(watch::Watch),
    /// Show where the traffic goes, and the last deployment of each group
    Status(status::Status),
    /// Move the traffic to a slot by hand
    Switch(switch::Switch),
    /// Go back to the previous version; exit code 0 means that it has the traffic again
    Rollback(rollback::Rollback),
    /// Abort the running deployment and undo it, or end the command that stops a slot; exit code 0 means that this is done
    Abort(abort::Abort),
    /// Hold the running deployment: no more traffic moves to the new version; a bad one still goes back
    Pause(pause::Pause),
    /// Let a paused deployment go on
    Resume(resume::Resume),
    /// Begin the next step of the running deployment now, or end its soak as good
    Promote(promote::Promote),
    /// Run a command of a deployment again: one that it has left undone, or the one that starts the active slot
    Run(run::Run),
    /// Let no new version get traffic, in one group or in all; the way back stays open
    Freeze(freeze::Freeze),
    /// End a freeze
    Unfreeze(unfreeze::Unfreeze),
    /// Show, apply and revert the migrations of [group.NAME.database] by hand
    Database(database::Database),
    /// List deployments, and what was done by hand: switches, freezes, changes of a database
    History(history::History),
    /// Show everything about one deployment on one page: timeline, figures, outcome, output of its commands
    Report(report::Report),
    /// Show the output of a deployment's commands
    Logs(logs::Logs),
    /// Check the configuration against the live nginx
    Check(check::Check),
    /// Print the script with which a shell completes the words of this command
    Completions(completions::Completions),
    /// Print the manual page
    Man(man::Man),
    /// Connect standard input and output with the socket of the daemon, for --host ssh://HOST of another machine
    #[command(hide = true)]
    DialStdio(dial_stdio::DialStdio),
}

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The options name no daemon that the verb can use.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// `dial-stdio` has no connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The daemon refused the request or cannot be reached.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The daemon is away, and it is not safe to do without it.
    #[error("the daemon is away, and traffic is not affected; {0}")]
    Direct(#[from] DirectError),
    /// The edge, or the configuration of an absent daemon, refuses.
    #[error("{0}")]
    Refused(#[from] crate::control::Refusal),
    /// The daemon cannot run.
    #[error("failed to serve: {0}")]
    Serve(#[from] crate::serve::ServeError),
    /// The user of an option cannot be used.
    #[error("{0}")]
    User(String),
    /// A file that the operator named cannot be written.
    #[error("failed to write \"{}\": {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// Writing to standard output failed.
    #[error("failed to write: {0}")]
    Write(#[from] std::io::Error),
}

/// Writes an error on standard error, as `cutover: ..`.
pub fn print_error(text: &str) {
    screen::Paper::error(text);
}

impl CliError {
    /// The exit code of the program.
    pub fn exit_code(&self) -> u8 {
        match self {
            // 128 and the number of SIGINT, as shells have it.
            Self::Client(ClientError::Interrupted { .. } | ClientError::NotBegun) => 130,
            Self::Client(ClientError::Answered(answer)) if answer.busy.is_some() => failure::BUSY,
            Self::Client(ClientError::NotFree { .. }) => failure::BUSY,
            // The command line is wrong, as clap has it.
            Self::Place(_) => 2,
            Self::Dial(error) => error.exit_code(),
            _ => 1,
        }
    }
}

impl Verb {
    /// Whether a word names a verb.
    fn is_name(word: &str) -> bool {
        Arguments::command().get_subcommands().any(|verb| verb.get_name() == word)
    }

    /// Whether it prints JSON.
    fn json(&self) -> bool {
        match self {
            Self::Deploy(verb) => verb.json(),
            Self::Watch(verb) => verb.json(),
            Self::Status(verb) => verb.json(),
            Self::Switch(verb) => verb.json(),
            Self::Rollback(verb) => verb.json(),
            Self::Abort(verb) => verb.json(),
            Self::Pause(verb) => verb.json(),
            Self::Resume(verb) => verb.json(),
            Self::Promote(verb) => verb.json(),
            Self::Run(verb) => verb.json(),
            Self::Database(verb) => verb.json(),
            Self::Freeze(verb) => verb.json(),
            Self::Unfreeze(verb) => verb.json(),
            Self::History(verb) => verb.json(),
            Self::Report(verb) => verb.json(),
            Self::Logs(verb) => verb.json(),
            Self::Check(verb) => verb.json(),
            Self::Serve(_) | Self::Completions(_) | Self::Man(_) | Self::DialStdio(_) => false,
        }
    }
}

/// An answer as one JSON object with the exit code of the process.
fn with_exit_code(answer: &impl Serialize, exit_code: u8) -> serde_json::Value {
    let mut answer = serde_json::json!(answer);
    if let Some(members) = answer.as_object_mut() {
        members.insert("exit_code".to_owned(), exit_code.into());
    }
    answer
}

impl Arguments {
    /// Parses the command line, or answers a shell that completes one. The error is the exit code, after what is wrong has been
    /// said, or what the command line asks for.
    pub fn parsed() -> Result<Self, u8> {
        completions::answer();
        let words: Vec<String> =
            std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
        Self::try_parse().map_err(|error| failure::tell_usage(&error, &words))
    }

    /// Runs the verb, says why it fails, and returns the exit code.
    pub async fn run_and_tell(self) -> u8 {
        let (json, program) = (self.verb.json(), self.place.program());
        self.run().await.unwrap_or_else(|error| failure::tell(&error, json, &program))
    }

    /// Runs the verb and returns the exit code.
    pub async fn run(self) -> Result<u8, CliError> {
        let place = &self.place;
        let done = match self.verb {
            Verb::Serve(verb) => verb.run(place).await,
            Verb::Deploy(verb) => verb.run(place).await,
            Verb::Watch(verb) => verb.run(place).await,
            Verb::Status(verb) => verb.run(place).await,
            Verb::Switch(verb) => verb.run(place).await,
            Verb::Rollback(verb) => verb.run(place).await,
            Verb::Abort(verb) => verb.run(place).await,
            Verb::Pause(verb) => verb.run(place).await,
            Verb::Resume(verb) => verb.run(place).await,
            Verb::Promote(verb) => verb.run(place).await,
            Verb::Run(verb) => verb.run(place).await,
            Verb::Freeze(verb) => verb.run(place).await,
            Verb::Unfreeze(verb) => verb.run(place).await,
            Verb::Database(verb) => verb.run(place).await,
            Verb::History(verb) => verb.run(place).await,
            Verb::Report(verb) => verb.run(place).await,
            Verb::Logs(verb) => verb.run(place).await,
            Verb::Completions(verb) => verb.run(),
            Verb::Man(verb) => verb.run(),
            Verb::Check(verb) => verb.run(place).await,
            Verb::DialStdio(verb) => verb.run(place).await,
        };
        match done {
            // The reader has closed the pipe, as in `cutover history | head`.
            Err(CliError::Write(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(1),
            done => done,
        }
    }
}
