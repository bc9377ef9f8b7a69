//! The command line, with one file per verb.

use std::io::ErrorKind;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::{ConfigError, DEFAULT_PATH, DEFAULT_SOCKET, Loaded};

mod abort;
mod check;
mod client;
mod deploy;
mod follow;
mod history;
mod pause;
mod promote;
mod resume;
mod rollback;
mod run;
mod serve;
mod status;
mod steer;
mod switch;
mod terminal;
mod watch;

pub use client::ClientError;

/// Blue-green deployment with automatic rollback for nginx.
///
/// Exit codes: 0 done, 1 error, 2 usage, 3 failed before the switch (no traffic moved), 4 rolled back, 5 stuck, 130 interrupted
/// while it followed a deployment, which goes on.
#[derive(Debug, Parser)]
#[command(name = "cutover", version)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    verb: Verb,
}

/// Display order of the global options, so `--help` lists them after a verb's own options.
const AFTER_OWN: usize = 100;

/// The configuration file and the socket of the daemon.
#[derive(Debug, Args)]
struct Place {
    /// The configuration file [default: /etc/cutover/cutover.toml]
    #[arg(long, global = true, env = "CUTOVER_CONFIG", value_name = "FILE", display_order = AFTER_OWN)]
    config: Option<PathBuf>,
    /// The daemon's socket [default: daemon.socket of the configuration]
    #[arg(long, global = true, env = "CUTOVER_SOCKET", value_name = "PATH", display_order = AFTER_OWN)]
    socket: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the daemon
    Serve(serve::Serve),
    /// Deploy a version to the standby slot, switch to it, watch it, and roll back if it is bad
    Deploy(deploy::Deploy),
    /// Follow the last deployment to its outcome; the exit code is that of deploy
    Watch(watch::Watch),
    /// Show where the traffic goes, and the last deployment of each group
    Status(status::Status),
    /// Move the traffic to a slot by hand
    Switch(switch::Switch),
    /// Go back to the previous version; exit code 0 means that it has the traffic again
    Rollback(rollback::Rollback),
    /// Abort the running deployment and undo it, or end the command that stops a slot; exit code 0 means that this is done
    Abort(abort::Abort),
    /// Hold the running deployment: no more traffic moves to the new version, which is watched on
    Pause(pause::Pause),
    /// Let a paused deployment go on
    Resume(resume::Resume),
    /// Begin the next step of the running deployment now, or end its soak as good
    Promote(promote::Promote),
    /// Run a command again that the last deployment has left undone, or that starts the active slot
    Run(run::Run),
    /// List deployments and switches by hand
    History(history::History),
    /// Check the configuration against the live nginx
    Check(check::Check),
}

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
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
            Verb::History(verb) => verb.run(place).await,
            Verb::Check(verb) => verb.run(place).await,
        };
        match done {
            // The reader has closed the pipe, as in `cutover history | head`.
            Err(CliError::Write(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(1),
            done => done,
        }
    }
}

impl Place {
    fn path(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(|| DEFAULT_PATH.into())
    }

    fn loaded(&self) -> Result<Loaded, ConfigError> {
        Loaded::read(&self.path())
    }

    /// A client for the socket of the options, otherwise of the configuration, otherwise the default socket if there is no readable
    /// configuration.
    fn client(&self) -> Result<client::Client, CliError> {
        // A broken group in the file must not keep an operator from the daemon that runs.
        let configured = || Loaded::read_for_start(&self.path()).map(|loaded| loaded.config.daemon.socket);
        let socket = match (&self.socket, &self.config) {
            (Some(socket), _) => socket.clone(),
            (None, Some(_)) => configured()?,
            (None, None) => configured().unwrap_or(DEFAULT_SOCKET.into()),
        };
        Ok(client::Client::new(socket))
    }
}
