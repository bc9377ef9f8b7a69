//! `simulate`: deployments of a small shop behind a real nginx, under a load that checks every answer.
//!
//! It also contains the operator's commands: the daemon calls `simulate slot ..` and `simulate migrate ..`.

#![forbid(unsafe_code)]

mod judge;
mod kubernetes;
mod medians;
mod operator;
mod play;
mod playground;
mod scenario;
mod schedule;
mod series;
mod table;
mod transcript;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use cutover_tests::DatabaseKind;
use cutover_tests::kubernetes::Cluster;
use cutover_tests::site::{self, EdgeKind};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use crate::judge::ScenarioResult;
use crate::medians::Median;
use crate::schedule::{Choice, Played, Schedule};
use crate::table::Platform;

/// Deployments behind a real nginx, under a load that checks every answer
#[derive(Debug, Parser)]
#[command(name = "simulate-deployment")]
struct Arguments {
    /// Only these, from 1 to 20; 17 and 18 need --edges, and 20 needs --kubernetes
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u8).range(1..=20))]
    scenario: Vec<u8>,
    /// Run those whose median of failed requests has a limit, or the one of --scenario, so many times, and print the medians
    #[arg(long, value_name = "N")]
    runs: Option<NonZeroUsize>,
    /// What moves the traffic: nginx with the module, or stock nginx by an upstream file and a reload
    #[arg(long, value_enum, default_value_t = Edge::Module)]
    edge: Edge,
    /// Spread the users over so many nginx with the module, which one daemon moves together
    #[arg(long, value_name = "N", conflicts_with_all = ["runs", "keep"], value_parser = clap::value_parser!(u8).range(2..=5))]
    edges: Option<u8>,
    /// Let cutover migrate this database; runs 4 and 19, or the one of --scenario
    #[arg(long, value_name = "DATABASE", conflicts_with_all = ["edges", "keep"], value_parser = database)]
    database: Option<DatabaseKind>,
    /// Deploy with the operator on a Kubernetes of its own, behind two real controllers of ingress-nginx
    #[arg(long, conflicts_with_all = ["edge", "edges", "database", "keep"])]
    kubernetes: bool,
    /// Leave a site running, and print the addresses and commands to play with
    #[arg(long, conflicts_with = "runs")]
    keep: bool,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Edge {
    Module,
    File,
}

impl Edge {
    fn kind(self) -> EdgeKind {
        match self {
            Self::Module => EdgeKind::Module,
            Self::File => EdgeKind::File,
        }
    }
}

impl Arguments {
    /// Ends the program with a sentence if two options do not fit.
    fn refuse(&self) {
        let has = |numbers: &[u8]| self.scenario.iter().any(|one| numbers.contains(one));
        let is_absent = |one: &u8| !kubernetes::NUMBERS.contains(one);
        let sentence = match (self.edges, self.edge) {
            _ if self.kubernetes && self.scenario.iter().any(is_absent) => {
                "--kubernetes is there for scenarios 1, 2, 3, 4, 9, 15 and 20. Leave one of the two out"
            }
            _ if self.kubernetes => return,
            (Some(_), Edge::File) => {
                "--edges is not there for --edge file: several edges are nginx with the module. Leave one of the two out"
            }
            _ if self.database.is_some() && self.scenario.iter().any(|one| ![4, 19].contains(one)) => {
                "--database is there for scenarios 4 and 19. Leave one of the two out"
            }
            (None, _) if has(&[17, 18]) => "scenarios 17 and 18 need several edges: add --edges 3",
            _ if has(&[20]) => "scenario 20 needs agents: add --kubernetes",
            _ => return,
        };
        Self::command().error(ErrorKind::ArgumentConflict, sentence).exit()
    }

    fn choice(&self) -> Choice {
        Choice { only: self.scenario.clone(), runs: self.runs }
    }

    fn number_of_edges(&self) -> u8 {
        self.edges.unwrap_or(1)
    }
}

/// The database of `--database`.
fn database(word: &str) -> Result<DatabaseKind, String> {
    let found = DatabaseKind::ALL.into_iter().find(|kind| kind.word() == word);
    found.ok_or_else(|| "it is one of sqlite, postgres, mariadb".to_owned())
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
            arguments.refuse();
            let start = Instant::now();
            let ended = if arguments.kubernetes {
                Cluster::run(async |cluster| {
                    until_interrupted(kubernetes::play(cluster, &arguments.choice())).await
                })?
            } else {
                let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
                LocalSet::new().block_on(&runtime, play_on_hosts(&arguments))?
            };
            let code = match ended {
                Ended::Played(played) => show(*played, &arguments, start)?,
                Ended::Interrupted(code) => {
                    println!("\ninterrupted; everything that was started has been ended");
                    code
                }
            };
            Ok(ExitCode::from(code))
        }
    }
}

async fn play_on_hosts(arguments: &Arguments) -> Result<Ended> {
    let edges = (arguments.edge.kind(), arguments.number_of_edges());
    let mut schedule = Schedule::new(&arguments.choice(), arguments.keep, edges, arguments.database);
    let ended = until_interrupted(schedule.play()).await;
    if let Ok(Ended::Interrupted(_)) = ended {
        schedule.abort().await;
    }
    ended
}

enum Ended {
    Played(Box<Played>),
    /// By a signal, which has this exit code.
    Interrupted(u8),
}

async fn until_interrupted(play: impl Future<Output = Result<Played>>) -> Result<Ended> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        played = play => Ok(Ended::Played(Box::new(played?))),
        _ = interrupt.recv() => Ok(Ended::Interrupted(130)),
        _ = terminate.recv() => Ok(Ended::Interrupted(143)),
    }
}

/// Prints the table. Returns the exit code.
fn show(played: Played, arguments: &Arguments, start: Instant) -> Result<u8> {
    let Played { results, complaints, kept } = played;
    let mut good = complaints.is_empty() && results.iter().all(ScenarioResult::good);
    if arguments.runs.is_some() {
        let medians = medians::medians(&results);
        print!("{}", medians::render(&medians));
        good &= medians.iter().all(Median::good);
    } else {
        let platform = match arguments.kubernetes {
            true => Platform::Kubernetes,
            false => Platform::Hosts(arguments.edge.kind()),
        };
        print!("{}", table::render(&results, platform));
    }
    for complaint in complaints {
        println!("{complaint}");
    }
    let sentence = if good { "all as it must be" } else { "NOT as it must be" };
    println!("{sentence}, in {:.0} s", start.elapsed().as_secs_f64());
    if let Some(mut site) = kept {
        playground::open(&mut site)?;
        site.detach();
    }
    Ok(u8::from(!good))
}
