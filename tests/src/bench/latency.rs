//! What a switch every 100 ms does to the time that answers take.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use cutover_tests::Flavour;

use crate::page::Section;
use crate::route_call::RouteCall;
use crate::sample::Sample;
use crate::table::{Table, count, seconds};
use crate::{Effort, machine, pinned, wrk};

const PERIOD: Duration = Duration::from_millis(100);

pub(crate) async fn measure(effort: Effort) -> Result<Section> {
    let pairs = effort.pick(10, 2);
    let duration = effort.pick(4, 1);
    let mut section = Section::new(&format!(
        "The set-up of the section before, all traffic through the group, with and without one switch per 100 ms from one \
         slot to the other and back: {pairs} pairs of runs of {duration} s, in turn. The worker is never idle, so p99 is \
         mostly time in its queue."
    ));
    let backend = pinned::backend().await?;
    let nginx = pinned::proxy(Flavour::Debian, &backend).await?;
    let address = nginx.address("http")?;
    wrk::run(address, "/group", 1).await?;

    let (mut calm, mut switched, mut switches) = (Vec::new(), Vec::new(), 0);
    for pair in 0..pairs {
        for with_switches in [pair % 2 == 0, pair % 2 != 0] {
            if with_switches {
                let switching = Switching::start(nginx.admin_socket());
                switched.push(wrk::run(address, "/group", duration).await?);
                switches += switching.stop().await?;
            } else {
                calm.push(wrk::run(address, "/group", duration).await?);
            }
        }
    }
    ensure!(switches > 0, "nothing was switched");

    let mut table = Table::new([
        "",
        "p50, median of runs",
        "p99, median of runs",
        "p99, worst run",
        "requests/s",
        "failed",
    ]);
    for (name, runs) in [("no switch", &calm), ("a switch per 100 ms", &switched)] {
        let of = |value: fn(&wrk::Run) -> f64| runs.iter().map(value).collect::<Sample>();
        table.row([
            name.to_owned(),
            seconds(of(|run| run.p50).median()),
            seconds(of(|run| run.p99).median()),
            seconds(of(|run| run.p99).highest()),
            count(of(|run| run.requests_per_second).median() as u64),
            count(runs.iter().map(|run| run.failed).sum()),
        ]);
    }
    section.table(&table);
    let shares: Sample = calm.iter().zip(&switched).map(|(calm, switched)| switched.p99 / calm.p99).collect();
    section.paragraph(&format!(
        "p99 with switches as a share of p99 without, within each pair: median {:.2}, from {:.2} to {:.2}; {switches} \
         switches.",
        shares.median(),
        shares.lowest(),
        shares.highest()
    ));
    section.measured_with(&format!(
        "nginx {} and wrk {}",
        machine::nginx_version(Flavour::Debian)?,
        machine::package_version("wrk")?
    ))
}

/// Switches to and fro, until it is stopped.
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

/// Also when a run fails: nobody is left to stop it.
impl Drop for Switching {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}
