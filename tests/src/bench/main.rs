//! `bench`: measures the cost of a group per request, the speed and failures of a switch, and the cost of ten thousand
//! groups, in paired runs on one machine, and writes the page with the figures.

#![forbid(unsafe_code)]

mod bad_switch;
mod callgrind;
mod effort;
mod exchange;
mod features;
mod instructions;
mod latency;
mod machine;
mod many_groups;
mod page;
mod pinned;
mod processor;
mod route_call;
mod sample;
mod switching;
mod table;
mod throughput;
mod wrk;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use cutover_tests::flavour;
use tokio::signal::unix::{SignalKind, signal};

use crate::effort::Effort;
use crate::page::{Page, Section};

/// Measures in paired runs on this machine, and writes docs/benchmarks.md
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Arguments {
    /// Few and short runs, to see that it works: prints the figures and writes nothing
    #[arg(long)]
    quick: bool,
    /// Only this part; can be given several times. The figures of other parts stay as they are
    #[arg(long, value_name = "PART")]
    only: Vec<Part>,
    /// Another page to write
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// A benchmark, in the order of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Instructions that nginx spends on a request, counted by callgrind
    Instructions,
    /// Requests a second through a group, beside those to a plain upstream
    Throughput,
    /// The switch itself, beside a reload, HAProxy and Caddy
    Switch,
    /// What a switch per 100 ms does to the 99th percentile
    Latency,
    /// What a bad slot costs with guard, and with guard and rescue
    BadSwitch,
    /// 10,000 groups
    ManyGroups,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    ensure!(machine::cores() >= 2, "nginx and its load each need a core of their own: this machine has one");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run_or_interrupt(arguments))
}

async fn run_or_interrupt(arguments: Arguments) -> Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // On a signal `run` is dropped, which ends all servers.
    let code = tokio::select! {
        done = run(arguments) => return done.map(|()| ExitCode::SUCCESS),
        _ = interrupt.recv() => 130,
        _ = terminate.recv() => 143,
    };
    eprintln!("interrupted; everything that was started has been ended");
    Ok(ExitCode::from(code))
}

async fn run(arguments: Arguments) -> Result<()> {
    let effort = Effort::new(arguments.quick);
    let output = arguments.output.unwrap_or_else(|| flavour::root().join("docs/benchmarks.md"));
    let mut page = Page::read(&output, Part::value_variants().iter().map(|part| part.title()))?;
    for part in Part::value_variants() {
        if !arguments.only.is_empty() && !arguments.only.contains(part) {
            continue;
        }
        let name = part.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        eprintln!("{name}: measuring");
        let begin = Instant::now();
        let section = part.measure(effort).await.with_context(|| format!("failed to measure {name}"))?;
        eprintln!("{name}: done in {:.0} s", begin.elapsed().as_secs_f64());
        println!("## {}\n\n{section}", part.title());
        // Written after each part, so that figures are kept when a later part fails.
        page.put(part.title(), &section);
        if !arguments.quick {
            page.write(&output)?;
        }
    }
    Ok(())
}

impl Part {
    fn title(self) -> &'static str {
        match self {
            Self::Instructions => "What a group costs a request, in instructions",
            Self::Throughput => "Requests a second",
            Self::Switch => "A switch, beside other ways to move traffic",
            Self::Latency => "Traffic under constant switching",
            Self::BadSwitch => "A switch to a bad slot",
            Self::ManyGroups => "Ten thousand groups",
        }
    }

    async fn measure(self, effort: Effort) -> Result<Section> {
        match self {
            Self::Instructions => instructions::measure(effort).await,
            Self::Throughput => throughput::measure(effort).await,
            Self::Switch => switching::measure(effort).await,
            Self::Latency => latency::measure(effort).await,
            Self::BadSwitch => bad_switch::measure(effort).await,
            Self::ManyGroups => many_groups::measure(effort).await,
        }
    }
}
