//! The effect of a switch every 100 ms on latency.

mod paced;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use cutover_tests::Flavour;

use crate::effort::Effort;
use crate::page::Section;
use crate::route_call::RouteCall;
use crate::sample::Sample;
use crate::table::{Table, count, seconds};
use crate::{machine, pinned, wrk};

const PERIOD: Duration = Duration::from_millis(100);
const PATH: &str = "/group";

/// The kind of load.
#[derive(Clone, Copy, Debug)]
enum LoadKind {
    Paced,
    Saturating,
}

/// One run.
struct Run {
    p50: f64,
    p99: f64,
    failed: u64,
}

pub(crate) async fn measure(effort: Effort) -> Result<Section> {
    let pairs = effort.pick(10, 2);
    let duration = effort.pick(4, 1);
    let mut section = Section::new(&format!(
        "The set-up of the section before, all traffic through the group, with and without one switch per 100 ms from one \
         slot to the other and back: {pairs} pairs of runs of {duration} s, in turn. The light load is {} connections that \
         each ask every {} ms; the heavy one is `wrk` with 32, where p99 is mostly time in the queues of two busy cores.",
        paced::CONNECTIONS,
        paced::PERIOD.as_millis()
    ));
    let backend = pinned::backend().await?;
    let nginx = pinned::proxy(Flavour::Debian, &backend).await?;
    let address = nginx.address("http")?;
    wrk::run(address, PATH, 1).await?;

    let mut table = Table::new([
        "load",
        "p50, median of runs",
        "p99, median of runs",
        "p99, worst run",
        "failed",
        "p99, share of that without switches",
    ]);
    let mut switches = 0;
    for (name, load) in [("light", LoadKind::Paced), ("heavy", LoadKind::Saturating)] {
        let (mut calm, mut switched) = (Vec::new(), Vec::new());
        for pair in 0..pairs {
            for with_switches in [pair % 2 == 0, pair % 2 != 0] {
                if with_switches {
                    let switching = Switching::start(nginx.admin_socket());
                    switched.push(load.run(address, duration).await?);
                    switches += switching.stop().await?;
                } else {
                    calm.push(load.run(address, duration).await?);
                }
            }
        }
        let shares: Sample =
            calm.iter().zip(&switched).map(|(calm, switched)| switched.p99 / calm.p99).collect();
        let range = format!("{:.2} ({:.2} to {:.2})", shares.median(), shares.lowest(), shares.highest());
        for (what, runs, share) in
            [("no switch", &calm, "1".to_owned()), ("a switch per 100 ms", &switched, range)]
        {
            let of = |value: fn(&Run) -> f64| runs.iter().map(value).collect::<Sample>();
            table.row([
                format!("{name}, {what}"),
                seconds(of(|run| run.p50).median()),
                seconds(of(|run| run.p99).median()),
                seconds(of(|run| run.p99).highest()),
                count(runs.iter().map(|run| run.failed).sum()),
                share,
            ]);
        }
    }
    ensure!(switches > 0, "nothing was switched");
    section.table(&table);
    section.measured_with(&format!(
        "nginx {} and wrk {}, {} switches",
        machine::nginx_version(Flavour::Debian)?,
        machine::package_version("wrk")?,
        count(switches)
    ))
}

impl LoadKind {
    async fn run(self, address: SocketAddr, duration: u32) -> Result<Run> {
        match self {
            Self::Paced => {
                let (times, failed) = paced::run(address, PATH, Duration::from_secs(duration.into())).await?;
                Ok(Run { p50: times.median(), p99: times.percentile(0.99), failed })
            }
            Self::Saturating => {
                let run = wrk::run(address, PATH, duration).await?;
                Ok(Run { p50: run.p50, p99: run.p99, failed: run.failed })
            }
        }
    }
}

/// A task that switches to and fro until it is stopped.
struct Switching {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Result<u64>>,
}

impl Switching {
    fn start(socket: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::task::spawn_blocking(move || {
            let mut call = RouteCall::connect(&socket)?;
            let begin = Instant::now();
            let mut switches: u32 = 0;
            while !stopped.load(Ordering::SeqCst) {
                call.switch("shop", if switches.is_multiple_of(2) { "green" } else { "blue" })?;
                switches += 1;
                std::thread::sleep((PERIOD * switches).saturating_sub(begin.elapsed()));
            }
            Ok(u64::from(switches))
        });
        Self { stop, task }
    }

    async fn stop(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::SeqCst);
        (&mut self.task).await?
    }
}

/// Stops the task also when a run fails.
impl Drop for Switching {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}
