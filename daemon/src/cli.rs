//! The command line, with one file per verb.

use std::io::ErrorKind;

use clap::{Parser, Subcommand};

use crate::config::ConfigError;

mod abort;
mod check;
mod client;
mod database;
mod deploy;
mod dial_stdio;
mod follow;
mod greeting;
mod history;
mod host;
mod pause;
mod place;
mod promote;
mod resume;
mod rollback;
mod run;
mod serve;
mod ssh;
mod status;
mod steer;
mod switch;
mod terminal;
mod watch;

pub use client::ClientError;
pub use dial_stdio::DialError;
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
Exit codes: 0 completed, 1 error, 3 failed before the switch (no traffic moved), 4 rolled back, 5 stuck, 130 interrupted. The
deployment runs in the daemon: it goes on if this command is interrupted.";

/// Blue-green deployment with automatic rollback for nginx.
///
/// Exit codes: 0 done, 1 error, 2 usage, 3 failed before the switch (no traffic moved), 4 rolled back, 5 stuck, 130 interrupted
/// while it followed a deployment, which goes on.
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
    /// Show, apply and revert the migrations of [group.NAME.database] by hand
    Database(database::Database),
    /// List deployments and switches by hand
    History(history::History),
    /// Check the configuration against the live nginx
    Check(check::Check),
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
    /// The daemon cannot run.
    #[error("failed to serve: {0}")]
    Serve(#[from] crate::serve::ServeError),
    /// Writing to standard output failed.
    #[error("failed to write: {0}")]
    Write(#[from] std::io::Error),
}

impl CliError {
    /// The exit code of the program.
    pub fn exit_code(&self) -> u8 {
        match self {
            // 128 and the number of SIGINT, as shells have it.
            Self::Client(ClientError::Interrupted { .. }) => 130,
            // The command line is wrong, as clap has it.
            Self::Place(_) => 2,
            Self::Dial(error) => error.exit_code(),
            _ => 1,
        }
    }
}

impl Arguments {
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
            Verb::Database(verb) => verb.run(place).await,
            Verb::History(verb) => verb.run(place).await,
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
