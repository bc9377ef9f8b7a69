//! Ten thousand groups of two slots, compared with the same nginx with as many plain upstreams and no groups: the time of
//! starts and reloads, and the memory.

mod configuration;
mod memory;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use cutover_tests::process::{self, Signal};
use cutover_tests::{Flavour, Nginx, wait};

use crate::effort::Effort;
use crate::features::Features;
use crate::page::Section;
use crate::route_call::RouteCall;
use crate::sample::Sample;
use crate::table::{Table, count, megabytes, seconds, verdict};
use crate::{machine, pinned, processor};

use configuration::Kind;
use memory::Memory;

/// Time limit of a reload. nginx compares each upstream with all others.
const PATIENCE: Duration = Duration::from_secs(300);
/// The longest time of a scrape, in seconds.
const SCRAPE: f64 = 0.2;

/// The figures of one nginx.
struct Measured {
    check: Sample,
    start: f64,
    start_again: f64,
    reload: Sample,
    reload_until_done: Sample,
    master: Memory,
    fresh_worker: Memory,
    used_worker: Memory,
    worker_after_reloads: Memory,
}

pub(crate) async fn measure(effort: Effort) -> Result<Section> {
    let groups = effort.pick(10_000, 500);
    let features = Features::of(Flavour::from_env()?).await?;
    let mut section = Section::new(&format!(
        "{} groups of two slots with a location each, two workers; beside it the same nginx without the module, with the same \
         {} upstreams and the same locations, each to the upstream of one slot. nginx looks at all upstreams for each further \
         one, and for each `proxy_pass`: a group is an upstream, so with groups it has half as many again to look at. Times \
         are processor time of the process that reads the configuration; *until done* is by the clock, until only new workers \
         take connections. Traffic is two requests through each group. Memory of a process is its own and its share of what \
         it has in common with others (Pss).",
        count(groups),
        count(2 * groups)
    ));
    // This nginx is dropped before the other is measured.
    let (plain, _) = measure_one(Kind::Plain, groups, features, effort).await?;
    let (grouped, api) = measure_groups(groups, features, effort).await?;

    let mut table = Table::new(["", "plain upstreams", "groups", "difference"]);
    let mut time = |name: &str, of: fn(&Measured) -> f64| {
        let (plain, grouped) = (of(&plain), of(&grouped));
        table.row([name.to_owned(), seconds(plain), seconds(grouped), difference(grouped - plain)]);
    };
    time("`nginx -t`", |one| one.check.median());
    time("first start", |one| one.start);
    time("start with a state file", |one| one.start_again);
    time("reload", |one| one.reload.median());
    time("reload, until done", |one| one.reload_until_done.median());
    let mut memory = |name: &str, of: fn(&Measured) -> u64| {
        let (plain, grouped) = (of(&plain), of(&grouped));
        let more = (grouped as f64 - plain as f64) / 1e6;
        table.row([name.to_owned(), megabytes(plain), megabytes(grouped), format!("{more:+.1} MB")]);
    };
    memory("master, after its start", |one| one.master.pss);
    memory("a worker, before traffic", |one| one.fresh_worker.pss);
    memory("a worker, after traffic", |one| one.used_worker.pss);
    memory("of that, memory that processes share", |one| one.used_worker.shared);
    memory("page tables of a worker, after traffic", |one| one.used_worker.page_tables);
    memory("a worker, after reloads", |one| one.worker_after_reloads.pss);
    section.table(&table);
    section.table(&api);
    section.measured_with(&format!("nginx {}", machine::nginx_version(Flavour::from_env()?)?))
}

fn difference(value: f64) -> String {
    let sign = if value < 0.0 { "-" } else { "+" };
    format!("{sign}{}", seconds(value.abs()))
}

async fn measure_one(
    kind: Kind,
    groups: u64,
    features: Features,
    effort: Effort,
) -> Result<(Measured, Nginx)> {
    let backend = pinned::backend().await?;
    let nginx = configuration::build(kind, groups, features, backend.address("http")?)?;
    let times = effort.pick(3, 1);
    let check = (0..times).map(|_| check(&nginx)).collect::<Result<Sample>>()?;
    let start = start(&nginx).await?;
    nginx.stop().await?;
    let start_again = self::start(&nginx).await?;
    let master = Memory::of(nginx.master()?)?;
    let fresh_worker = Memory::of_first(&nginx.workers())?;
    configuration::visit_all(&nginx, groups).await?;
    let used_worker = Memory::of_first(&nginx.workers())?;
    let mut reloads = Vec::new();
    for _ in 0..times {
        reloads.push(reload(&nginx).await?);
    }
    let measured = Measured {
        check,
        start,
        start_again,
        reload: reloads.iter().map(|reload| reload.processor).collect(),
        reload_until_done: reloads.iter().map(|reload| reload.until_done).collect(),
        master,
        fresh_worker,
        used_worker,
        worker_after_reloads: Memory::of_first(&nginx.workers())?,
    };
    Ok((measured, nginx))
}

/// The same for groups, and the times of calls to the admin API.
async fn measure_groups(groups: u64, features: Features, effort: Effort) -> Result<(Measured, Table<5>)> {
    let (measured, nginx) = measure_one(Kind::Groups, groups, features, effort).await?;
    let mut call = RouteCall::connect(&nginx.admin_socket())?;
    let times = effort.pick(100, 10);

    let mut table = Table::new(["call, on a kept connection", "median", "p99", "bytes", "goal"]);
    let mut slot = ["green", "blue"].into_iter().cycle();
    let last = configuration::group(groups - 1);
    let switches = repeat(times, || call.switch(&last, slot.next().unwrap_or_default()).map(|()| 0))?;
    let one = repeat(times, || Ok(call.get(&format!("/v1/groups/{last}"))?.len() as u64))?;
    let all = repeat(times / 5, || Ok(call.get("/v1/groups")?.len() as u64))?;
    for (name, (sample, bytes)) in
        [("switch of one group", switches), ("one group", one), ("all groups", all)]
    {
        let size = if bytes == 0 { "-".to_owned() } else { count(bytes) };
        table.row([
            name.to_owned(),
            seconds(sample.median()),
            seconds(sample.percentile(0.99)),
            size,
            String::new(),
        ]);
    }
    if features.metrics {
        let (sample, bytes) = repeat(times / 5, || Ok(call.get("/metrics")?.len() as u64))?;
        let met = verdict(sample.median() <= SCRAPE);
        table.row([
            "scrape of the metrics".to_owned(),
            seconds(sample.median()),
            seconds(sample.percentile(0.99)),
            count(bytes),
            format!("at most {}: {met}", seconds(SCRAPE)),
        ]);
    }
    Ok((measured, table))
}

/// Repeats a call. Returns the times, and the size of the last answer.
fn repeat(times: usize, mut call: impl FnMut() -> Result<u64>) -> Result<(Sample, u64)> {
    let mut bytes = 0;
    let mut sample = Vec::new();
    for _ in 0..times {
        let begin = Instant::now();
        bytes = call()?;
        sample.push(begin.elapsed());
    }
    Ok((sample.into_iter().collect(), bytes))
}

fn check(nginx: &Nginx) -> Result<f64> {
    let before = processor::of_ended_children()?;
    let answer = nginx.check()?;
    ensure!(answer.ok, "nginx refused the configuration: {}", answer.output);
    Ok(processor::of_ended_children()? - before)
}

/// The processor time of a start: the program reads its configuration, forks the daemon and exits.
async fn start(nginx: &Nginx) -> Result<f64> {
    let before = processor::of_ended_children()?;
    nginx.start().await?;
    Ok(processor::of_ended_children()? - before)
}

struct ReloadTimes {
    processor: f64,
    until_done: Duration,
}

/// Reloads with a longer time limit than [`Nginx::reload`].
async fn reload(nginx: &Nginx) -> Result<ReloadTimes> {
    let master = nginx.master()?;
    let (old, before, begin) = (nginx.workers(), processor::of(master)?, Instant::now());
    process::signal(master, Signal::HUP)?;
    wait::until_within(PATIENCE, "the new workers alone", || {
        let now = nginx.workers();
        now.len() == old.len() && !now.iter().any(|pid| old.contains(pid))
    })
    .await?;
    let until_done = begin.elapsed();
    process::gone(&old, PATIENCE).await?;
    Ok(ReloadTimes { processor: processor::of(master)? - before, until_done })
}
