//! The command line: one file for each verb.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cutover_operator::controller::Verb;

mod agent;
mod ask;
mod check;
mod run;

/// Blue-green deployments on Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "cutover-operator", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    verb: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Drives the deployments of all BlueGreens.
    Run(run::Run),
    /// Gives the routes to the nginx of one Pod of ingress-nginx: runs in a container of each.
    Agent(agent::Agent),
    /// Prints the CustomResourceDefinition, for kubectl apply -f -.
    Crd,
    /// Tells what would go wrong, before anything is applied, and what a deployment would do. Changes nothing.
    Check(check::Check),
    /// Moves a deployment on that waits for it.
    Promote(ask::Ask),
    /// Moves no more traffic to the new version until it is resumed.
    Pause(ask::Ask),
    /// Lets a paused deployment go on.
    Resume(ask::Ask),
    /// Ends a deployment and brings the traffic back.
    Abort(ask::Ask),
    /// Brings the traffic back to the version before.
    Rollback(ask::Ask),
    /// Tries a version again that has failed.
    Retry(ask::Ask),
    /// Reverts what a deployment that did not complete has left in the database.
    Revert(ask::Ask),
    /// Gives up a deployment whose record cannot be read. Traffic stays where it is.
    Forget(ask::Ask),
}

impl Cli {
    /// Does what was typed.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let (ask, verb) = match self.verb {
            Command::Run(run) => return run.run().await.map(|()| ExitCode::SUCCESS),
            Command::Agent(agent) => return agent.run().await.map(|()| ExitCode::SUCCESS),
            Command::Check(check) => return check.run().await,
            Command::Crd => {
                print!("{}", cutover_operator::crd::yaml()?);
                return Ok(ExitCode::SUCCESS);
            }
            Command::Promote(ask) => (ask, Verb::Promote),
            Command::Pause(ask) => (ask, Verb::Pause),
            Command::Resume(ask) => (ask, Verb::Resume),
            Command::Abort(ask) => (ask, Verb::Abort),
            Command::Rollback(ask) => (ask, Verb::Rollback),
            Command::Retry(ask) => (ask, Verb::Retry),
            Command::Revert(ask) => (ask, Verb::Revert),
            Command::Forget(ask) => (ask, Verb::Forget),
        };
        ask.ask(verb).await.map(|()| ExitCode::SUCCESS)
    }
}

/// Logs to the standard error, as much as RUST_LOG says.
fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
