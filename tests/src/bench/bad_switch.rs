//! A switch to a bad slot: how many requests fail, and for how long, until the module takes the traffic back.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use cutover_tests::{Action, Admin, Backend, Flavour, Load, Nginx, Plan, SlotOracle, wait};
use hyper::Method;

use crate::effort::Effort;
use crate::features::Features;
use crate::machine;
use crate::page::Section;
use crate::sample::Sample;
use crate::table::{Table, count, seconds};

/// The fault of the new slot.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Dead,
    Answers500,
    Hangs,
}

impl Fault {
    const ALL: [Self; 3] = [Self::Dead, Self::Answers500, Self::Hangs];

    fn name(self) -> &'static str {
        match self {
            Self::Dead => "refuses connections",
            Self::Answers500 => "answers 500",
            Self::Hangs => "does not answer",
        }
    }

    async fn apply_to(self, slot: &mut Backend) {
        match self {
            Self::Dead => slot.stop().await,
            Self::Answers500 => slot.on("/", Action::status(500)),
            Self::Hangs => slot.on("/", Action::Hang),
        }
    }
}

/// Time limit for the module to take the traffic back; after it the benchmark does.
const LIMIT: Duration = Duration::from_secs(15);

pub(crate) async fn measure(effort: Effort) -> Result<Section> {
    let times = effort.pick(10, 2);
    let mut section = Section::new(&format!(
        "36 connections ask for something every 10 ms each and check every answer, while the group is switched from a good \
         slot to a bad one, with a guard (at least 20 requests, at most 5 % errors, at most half of them slower than 1 s) and \
         a lease, with and without rescue; {times} times each. nginx waits one second for an answer \
         (`proxy_read_timeout 1s`) and may try again after a status 500 (`proxy_next_upstream`). *Failed* are requests \
         without a whole answer of status 200, *bad for* is from the first such answer to the last, \
         *last after* from the begin of the switch to the last of them."
    ));
    if !Features::of(Flavour::from_env()?).await?.guard {
        section.paragraph("The module that was at hand has no guard yet: nothing was measured.");
        return section.measured_with(&format!("nginx {}", machine::nginx_version(Flavour::from_env()?)?));
    }
    let mut table = Table::new([
        "new slot",
        "failed, median",
        "failed, most",
        "bad for, median",
        "bad for, longest",
        "last after, median",
        "requests, median",
        "back by itself",
    ]);
    for fault in Fault::ALL {
        for rescue in [false, true] {
            let mut runs = Vec::new();
            for _ in 0..times {
                runs.push(run_once(fault, rescue).await?);
            }
            let of = |value: fn(&Run) -> f64| runs.iter().map(value).collect::<Sample>();
            let back = runs.iter().filter(|run| run.back).count();
            table.row([
                format!("{}, {}", fault.name(), if rescue { "guard and rescue" } else { "guard" }),
                count(of(|run| run.failed as f64).median() as u64),
                count(of(|run| run.failed as f64).highest() as u64),
                seconds(of(|run| run.bad_for.as_secs_f64()).median()),
                seconds(of(|run| run.bad_for.as_secs_f64()).highest()),
                seconds(of(|run| run.last_after.map_or(f64::NAN, |after| after.as_secs_f64())).median()),
                count(of(|run| run.requests as f64).median() as u64),
                format!("{back} of {times}"),
            ]);
        }
    }
    section.table(&table);
    section.measured_with(&format!("nginx {}", machine::nginx_version(Flavour::from_env()?)?))
}

struct Run {
    requests: u64,
    failed: u64,
    bad_for: Duration,
    /// From the beginning of the switch to the last failure, if there was one.
    last_after: Option<Duration>,
    /// Whether the module took the traffic back in time.
    back: bool,
}

async fn run_once(fault: Fault, rescue: bool) -> Result<Run> {
    let blue = Backend::start("blue").await?;
    let mut green = Backend::start("green").await?;
    let nginx = start(&blue, &green).await?;
    let admin = nginx.admin();
    fault.apply_to(&mut green).await;

    let plan = Plan::new(nginx.address("http")?).connections(32, 4).pause(Duration::from_millis(10));
    let load = Load::start(plan, &SlotOracle::new("blue"));
    load.answers(500).await?;
    ensure!(load.report().failed() == 0, "failed before anything was switched: {}", load.report());
    let begin = Instant::now();
    change(&admin, rescue).await?;
    let on_blue = async || admin.group("shop").await.is_ok_and(|group| group.route.active == "blue");
    let back = wait::until_async(LIMIT, "the module to take the switch back", on_blue).await.is_ok();
    if !back {
        admin.switch("shop", "blue").await?;
    }
    // Requests that went to the bad slot must also end.
    load.answers(500).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let report = load.stop().await;
    let last = report.failures.iter().map(|failure| failure.at).max();
    Ok(Run {
        requests: report.total,
        failed: report.failed(),
        bad_for: report.bad_for(),
        last_after: last.map(|last| last - begin),
        back,
    })
}

async fn change(admin: &Admin, rescue: bool) -> Result<()> {
    let change = serde_json::json!({
        "active": "green",
        "guard": {
            "min_requests": 20, "max_error_ratio": 0.05, "window_ms": 10_000, "max_slow_ratio": 0.5, "slow_ms": 1000,
        },
        "lease_ms": 30_000,
        "rescue": rescue,
        "reason": "a benchmark",
    });
    let headers = [("content-type", "application/json")];
    let reply = admin.raw(Method::PUT, "/v1/groups/shop/route", &headers, &change.to_string()).await?;
    ensure!(reply.status == 200, "the change was answered with {}: {}", reply.status, reply.body);
    Ok(())
}

async fn start(blue: &Backend, green: &Backend) -> Result<Nginx> {
    Nginx::builder()
        .set("blue", blue.address())
        .set("green", green.address())
        .http(
            "cutover_state %%prefix%%/state;
             keepalive_requests 100000000;
             upstream blue { server %%blue%%; keepalive 32; }
             upstream green { server %%green%%; keepalive 32; }
             cutover shop { slot blue blue; slot green green; active blue; }
             server {
                 listen %%listen:http%%;
                 location / {
                     proxy_pass http://shop;
                     proxy_http_version 1.1;
                     proxy_set_header Connection '';
                     proxy_connect_timeout 1s;
                     proxy_read_timeout 1s;
                     proxy_next_upstream error timeout http_500;
                     add_header x-cutover-slot $cutover_slot always;
                 }
             }
             server { listen %%admin%%; location / { cutover_api write=on; } }",
        )
        .start()
        .await
}
