//! Requests per second through a group, as a share of those to the plain upstream of its slot.

use anyhow::{Context, Result, ensure};
use cutover_tests::Flavour;

use crate::effort::Effort;
use crate::page::Section;
use crate::sample::Sample;
use crate::table::{Table, count, verdict};
use crate::{machine, pinned, processor, wrk};

/// The required share of a plain upstream's requests per second.
const GOAL: f64 = 0.99;

pub(crate) async fn measure(effort: Effort) -> Result<Section> {
    let pairs = effort.pick(10, 2);
    let seconds = effort.pick(4, 1);
    let mut section = Section::new(&format!(
        "One nginx with one worker on a core of its own, kept busy by `wrk` with 32 kept-alive connections; `wrk` and the \
         backend, an nginx that answers two bytes, are on another core. {pairs} pairs of runs of {seconds} s, the plain \
         upstream first in one pair and the group first in the next; the share is taken within each pair."
    ));
    let mut rates = Table::new([
        "nginx",
        "plain upstream, median",
        "group, median",
        "share, median",
        "share, lowest to highest",
        "failed",
        "goal: at least 0.99",
    ]);
    let mut times = Table::new([
        "nginx",
        "plain upstream, median",
        "group, median",
        "share, median",
        "share, lowest to highest",
    ]);
    let backend = pinned::backend().await?;
    let address = backend.address("http")?;
    wrk::run(address, "/", 1).await?;
    let mut versions = Vec::new();
    for flavour in effort.pick(&[Flavour::Debian, Flavour::Source][..], &[Flavour::Debian]) {
        let version = machine::nginx_version(*flavour)?;
        let nginx = pinned::proxy(*flavour, &backend).await?;
        let address = nginx.address("http")?;
        // Warm-up: connections to the backend are opened, and memory is touched.
        wrk::run(address, "/plain", 1).await?;
        wrk::run(address, "/group", 1).await?;
        let worker = *nginx.workers().first().context("nginx has no worker")?;
        let run = async |path| -> Result<Measured> {
            let before = processor::of(worker)?;
            let run = wrk::run(address, path, seconds).await?;
            ensure!(run.requests > 0, "wrk has got no answer");
            Ok(Measured { run, processor: (processor::of(worker)? - before) / run.requests as f64 })
        };
        let (mut plain, mut group) = (Vec::new(), Vec::new());
        for pair in 0..pairs {
            if pair % 2 == 0 {
                plain.push(run("/plain").await?);
                group.push(run("/group").await?);
            } else {
                group.push(run("/group").await?);
                plain.push(run("/plain").await?);
            }
        }
        let rate = |one: &Measured| one.run.requests_per_second;
        let shares = shares(&plain, &group, rate);
        rates.row([
            version.clone(),
            count(of(&plain, rate).median() as u64),
            count(of(&group, rate).median() as u64),
            format!("{:.3}", shares.median()),
            range(&shares),
            count(plain.iter().chain(&group).map(|one| one.run.failed).sum()),
            verdict(shares.median() >= GOAL).to_owned(),
        ]);
        let processor = |one: &Measured| one.processor;
        let shares = self::shares(&plain, &group, processor);
        times.row([
            version.clone(),
            micros(of(&plain, processor).median()),
            micros(of(&group, processor).median()),
            format!("{:.3}", shares.median()),
            range(&shares),
        ]);
        versions.push(version);
    }
    section.table(&rates);
    section.paragraph("Processor time of the worker for each of these requests, which other work on the machine disturbs less:");
    section.table(&times);
    section.measured_with(&format!(
        "nginx {} and wrk {}",
        versions.join(" and "),
        machine::package_version("wrk")?
    ))
}

/// A run, and the worker's processor time per request, in seconds.
struct Measured {
    run: wrk::Run,
    processor: f64,
}

fn of(runs: &[Measured], value: impl Fn(&Measured) -> f64) -> Sample {
    runs.iter().map(value).collect()
}

fn shares(plain: &[Measured], group: &[Measured], value: impl Fn(&Measured) -> f64) -> Sample {
    plain.iter().zip(group).map(|(plain, group)| value(group) / value(plain)).collect()
}

fn range(shares: &Sample) -> String {
    format!("{:.3} to {:.3}", shares.lowest(), shares.highest())
}

fn micros(seconds: f64) -> String {
    format!("{:.2} µs", seconds * 1e6)
}
