//! `simulate`: six deployments of a small shop behind a real nginx, under a load that checks every answer.
//!
//! It also contains the operator's commands: the daemon calls `simulate slot ..` and `simulate migrate ..`.

#![forbid(unsafe_code)]

mod judge;
mod operator;
mod play;
mod playground;
mod scenario;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::{Parser, Subcommand};
use cutover_tests::site::{self, Settings, Site};
use tokio::signal::unix::{SignalKind, signal};

use crate::judge::ScenarioResult;
use crate::scenario::SCENARIOS;

/// Six deployments behind a real nginx, under a load that checks every answer
#[derive(Debug, Parser)]
#[command(name = "simulate-deployment")]
struct Arguments {
    /// Only this one, from 1 to 6
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=6))]
    scenario: Option<u8>,
    /// Leave everything running, and print the addresses and commands to play with
    #[arg(long)]
    keep: bool,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// What the daemon calls to start and stop a slot
    #[command(hide = true, subcommand)]
    Slot(operator::Slot),
    /// What the daemon calls to change the database
    #[command(hide = true, subcommand)]
    Migrate(operator::Migrate),
    /// Ends what --keep has left running
    End {
        /// The folder that --keep has printed
        prefix: PathBuf,
    },
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    match arguments.verb {
        Some(Verb::Slot(verb)) => verb.run().map(|()| ExitCode::SUCCESS),
        Some(Verb::Migrate(verb)) => verb.run().map(|()| ExitCode::SUCCESS),
        Some(Verb::End { prefix }) => site::end(&prefix).map(|()| ExitCode::SUCCESS),
        None => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(run_or_interrupt(arguments.scenario, arguments.keep))
        }
    }
}

async fn run_or_interrupt(scenario: Option<u8>, keep: bool) -> Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // On a signal `run` is dropped, and with it the site.
    let code = tokio::select! {
        done = run(scenario, keep) => return done,
        _ = interrupt.recv() => 130,
        _ = terminate.recv() => 143,
    };
    println!("\ninterrupted; everything that was started has been ended");
    Ok(ExitCode::from(code))
}

async fn run(scenario: Option<u8>, keep: bool) -> Result<ExitCode> {
    let start = Instant::now();
    let mut site = Site::start(Settings { soak: "6s", min_requests: 100, ready: "4s", trial: "" }).await?;
    println!("nginx listens on http://{}, everything is under {}", site.address()?, site.prefix()?.display());
    let mut results = Vec::<ScenarioResult>::new();
    for scenario in SCENARIOS.iter().filter(|one| scenario.is_none_or(|number| number == one.number)) {
        results.push(scenario.play(&mut site).await?);
    }
    print!("{}", table::render(&results));
    let complaints = site.nginx()?.complaints();
    for line in &complaints {
        println!("nginx's error log: {line}");
    }
    let good = complaints.is_empty() && results.iter().all(ScenarioResult::good);
    let sentence = if good { "all as it must be" } else { "NOT as it must be" };
    println!("{sentence}, in {:.0} s", start.elapsed().as_secs_f64());
    if keep {
        playground::open(&mut site)?;
        site.detach();
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
