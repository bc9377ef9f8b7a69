//! Instructions that nginx spends on one proxied request: straight to an upstream, and through a group.
//!
//! Each variant runs under callgrind twice, with few and with many requests on one connection. The difference excludes start
//! and stop.

use anyhow::{Result, ensure};
use cutover_tests::client::{self, Client};
use cutover_tests::{Flavour, Nginx, wait};
use hyper::Method;

use crate::callgrind::CallgrindRun;
use crate::effort::Effort;
use crate::features::Features;
use crate::page::Section;
use crate::sample::Sample;
use crate::table::{Table, count, percent, verdict};
use crate::{machine, pinned};

/// Sizes of the request pool: nginx's default, and one that never needs a second block.
const POOLS: [&str; 2] = ["4k", "16k"];

/// What a request passes through from the client to the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    Plain,
    Group,
    /// A group after a switch that this worker has made.
    Switched,
    /// A group after a change with a guard, which is still armed.
    Armed,
    /// A group that sends some of its clients to the other slot, by a cookie.
    Split,
    /// A request with a subrequest, both straight to an upstream.
    PlainParts,
    /// A request with a subrequest, both through a group: the second inherits the choice of the first.
    GroupParts,
}

impl Variant {
    /// The highest allowed cost, as a share of the instructions with a plain upstream.
    fn goal(self) -> Option<f64> {
        match self {
            Self::Plain | Self::Split | Self::PlainParts | Self::GroupParts => None,
            Self::Group | Self::Switched => Some(0.01),
            Self::Armed => Some(0.02),
        }
    }

    fn is_built_into(self, features: Features) -> bool {
        match self {
            Self::Plain | Self::Group | Self::Switched | Self::PlainParts | Self::GroupParts => true,
            Self::Armed => features.guard,
            Self::Split => features.split,
        }
    }
}

pub(crate) async fn measure(effort: Effort) -> Result<Section> {
    let mut section = Section::new(
        "nginx runs under valgrind's callgrind, as one process, and proxies requests of one kept-alive connection to a \
         backend that answers with two bytes, over kept-alive connections. Counted is the difference between a long and a \
         short run, for each request. A group needs some of the request's memory pool: where that is what makes nginx take \
         another block from the system, some 600 instructions come on top, which is why each way is also counted with \
         `request_pool_size 16k`. The last column is what a group costs a request that nginx completes by a subrequest to the \
         same group (`add_after_body`), beside the same without a group.",
    );
    let mut table = Table::new([
        "nginx, pool of a request",
        "plain upstream",
        "group",
        "group, after a switch",
        "guard armed",
        "split by a cookie",
        "a request and its subrequest",
    ]);
    let mut counted = Vec::new();
    let mut versions = Vec::new();
    for flavour in effort.pick(&[Flavour::Debian, Flavour::Source][..], &[Flavour::Debian]) {
        let features = Features::of(*flavour).await?;
        let version = machine::nginx_version(*flavour)?;
        for pool in effort.pick(&POOLS[..], &POOLS[..1]) {
            let plain = per_request(*flavour, Variant::Plain, pool, effort).await?;
            let mut cells = Vec::new();
            for variant in [Variant::Group, Variant::Switched, Variant::Armed, Variant::Split] {
                if !variant.is_built_into(features) {
                    cells.push("not in this module".to_owned());
                    continue;
                }
                let instructions = per_request(*flavour, variant, pool, effort).await?;
                let more = (instructions - plain) / plain;
                cells.push(format!("{:+.0} ({})", instructions - plain, percent(more)));
                counted.push((variant, more));
            }
            let parts = per_request(*flavour, Variant::PlainParts, pool, effort).await?;
            let more = per_request(*flavour, Variant::GroupParts, pool, effort).await? - parts;
            cells.push(format!("{more:+.0} ({})", percent(more / parts)));
            let [group, switched, armed, split, parts] = &cells[..] else { continue };
            table.row([
                format!("{version}, {pool}"),
                count(plain as u64),
                group.clone(),
                switched.clone(),
                armed.clone(),
                split.clone(),
                parts.clone(),
            ]);
        }
        versions.push(version);
    }
    section.table(&table);
    section.paragraph(&goals(&counted));
    section.measured_with(&format!(
        "nginx {} and valgrind {}",
        versions.join(" and "),
        machine::package_version("valgrind")?
    ))
}

fn goals(counted: &[(Variant, f64)]) -> String {
    let mut sentences = Vec::new();
    for (variant, name) in [
        (Variant::Group, "a group"),
        (Variant::Switched, "after a switch"),
        (Variant::Armed, "while a guard is armed"),
    ] {
        let all: Sample =
            counted.iter().filter(|(known, _)| *known == variant).map(|(_, more)| *more).collect();
        if let (Some(goal), true) = (variant.goal(), all.len() > 0) {
            let met = verdict(all.highest() <= goal);
            sentences.push(format!("{name}, at most {}: {met}", percent(goal)));
        }
    }
    format!("Goals: {}.", sentences.join("; "))
}

async fn per_request(flavour: Flavour, variant: Variant, pool: &str, effort: Effort) -> Result<f64> {
    let backend = pinned::backend().await?;
    let (few, many) = effort.pick((500, 2_500), (100, 300));
    let short = whole_run(flavour, variant, pool, &backend, few).await?;
    let long = whole_run(flavour, variant, pool, &backend, many).await?;
    Ok((long as f64 - short as f64) / f64::from(many - few))
}

async fn whole_run(
    flavour: Flavour,
    variant: Variant,
    pool: &str,
    backend: &Nginx,
    requests: u32,
) -> Result<u64> {
    let target = if matches!(variant, Variant::Plain | Variant::PlainParts) { "blue" } else { "group" };
    let path = if matches!(variant, Variant::PlainParts | Variant::GroupParts) { "/parts" } else { "/" };
    let split_key = if variant == Variant::Split { "split_key $cookie_sid;" } else { "" };
    let nginx = Nginx::builder()
        .flavour(flavour)
        .set("backend", backend.address("http")?)
        .set("pool", pool)
        .set("target", target)
        .set("split_key", split_key)
        .whole(CONFIGURATION)
        .build()?;
    let counted = CallgrindRun::start(&nginx)?;
    let address = nginx.address("http")?;
    let answers = async || client::get(address, "/").await.is_ok();
    wait::until_async(wait::PATIENCE * 4, "an answer of nginx under valgrind", answers).await?;
    prepare(&nginx, variant).await?;

    let mut client = Client::connect(address).await?;
    for number in 0..requests {
        // Cookies of the same length, with different keys for the split.
        let cookie = format!("sid={number:08}");
        let answer = client.request("GET", path, &[("cookie", &cookie)]).await?;
        ensure!(answer.status == 200, "an answer with status {}", answer.status);
    }
    drop(client);
    counted.end().await
}

/// Changes the route if the variant needs it. The guard's `min_requests` is higher than the number of requests.
async fn prepare(nginx: &Nginx, variant: Variant) -> Result<()> {
    let change = match variant {
        Variant::Plain | Variant::Group | Variant::PlainParts | Variant::GroupParts => return Ok(()),
        Variant::Switched => serde_json::json!({ "active": "green" }),
        Variant::Armed => serde_json::json!({
            "active": "green",
            "guard": {
                "min_requests": 1_000_000, "max_error_ratio": 0.05, "window_ms": 600_000,
                "max_slow_ratio": 0.5, "slow_ms": 1000,
            },
            "lease_ms": 600_000,
            "rescue": true,
        }),
        Variant::Split => serde_json::json!({ "active": "green", "split": { "blue": 95, "green": 5 } }),
    };
    let headers = [("content-type", "application/json")];
    let reply =
        nginx.admin().raw(Method::PUT, "/v1/groups/group/route", &headers, &change.to_string()).await?;
    ensure!(reply.status == 200, "the change was answered with {}: {}", reply.status, reply.body);
    Ok(())
}

const CONFIGURATION: &str = "\
%%load_module%%
daemon off;
master_process off;
pid %%prefix%%/nginx.pid;
error_log %%prefix%%/error.log;
events { }
http {
    access_log off;
    keepalive_requests 1000000;
    request_pool_size %%pool%%;
    client_body_temp_path %%prefix%%/client_body;
    proxy_temp_path %%prefix%%/proxy;
    fastcgi_temp_path %%prefix%%/fastcgi;
    uwsgi_temp_path %%prefix%%/uwsgi;
    scgi_temp_path %%prefix%%/scgi;
    cutover_state %%prefix%%/state;
    upstream blue { server %%backend%%; keepalive 4; keepalive_requests 1000000; }
    upstream green { server %%backend%%; keepalive 4; keepalive_requests 1000000; }
    cutover group { slot blue blue; slot green green; active blue; %%split_key%% }
    proxy_http_version 1.1;
    proxy_set_header Connection '';
    server {
        listen %%listen:http%%;
        location / { proxy_pass http://%%target%%; }
        location /parts { addition_types *; add_after_body /; proxy_pass http://%%target%%; }
    }
    server { listen %%admin%%; location / { cutover_api write=on; } }
}
";
