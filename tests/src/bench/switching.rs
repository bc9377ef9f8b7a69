//! A switch, from the call to the first answer of the new slot, compared with other proxies.
//!
//! ```text
//! call begins          first answer of the new slot         call returns
//! -----|---------------------------|------------------------------|--------------> time
//!      |<-------- moved ---------->|                              |
//!      |<----------------------- call --------------------------->|  a later request answered by the old slot: stale
//! ```

mod caddy;
mod disk;
mod haproxy;
mod module;
mod poll;
mod proxy;
mod reload;
mod series;

use anyhow::Result;
use cutover_tests::{Backend, Flavour};

use crate::effort::Effort;
use crate::machine;
use crate::page::Section;
use crate::table::{Table, count, seconds, verdict};

use proxy::{Proxy, Slot};
use series::{LoadLevel, Series};

pub(crate) async fn measure(effort: Effort) -> Result<Section> {
    let blue = Backend::start(Slot::Blue.name()).await?;
    let green = Backend::start(Slot::Green.name()).await?;
    let slots = [blue.address(), green.address()];

    let mut proxies: Vec<Box<dyn Proxy>> = vec![
        Box::new(module::Module::start(slots).await?),
        Box::new(haproxy::Haproxy::start(slots).await?),
        Box::new(caddy::Caddy::start(slots).await?),
        Box::new(reload::Reload::start(slots).await?),
    ];
    let all_series = || proxies.iter().map(|proxy| Series::new(&**proxy)).collect::<Vec<_>>();
    let (mut idle, mut busy) = (all_series(), all_series());
    // Each round measures all proxies, so that other load on the machine affects all of them.
    for _ in 0..effort.pick(10, 1) {
        for (traffic, series) in [(LoadLevel::Idle, &mut idle), (LoadLevel::Busy, &mut busy)] {
            let mut next = Vec::new();
            for (proxy, series) in proxies.into_iter().zip(series) {
                let switches = proxy.switches_a_round();
                next.push(series.round(proxy, traffic, switches).await?);
            }
            proxies = next;
        }
    }
    drop(proxies);

    let mut section = Section::new(
        "Each edge has the same two slots behind it, and is switched to and fro. A connection asks without a pause, one \
         request after the other, for who has the traffic: *moved* is from the begin of the call to the first answer of the \
         new slot. *Stale* are answers of the old slot to requests that were sent after the call had returned; *failed* are \
         requests without a whole, right answer; *closed* are kept-alive connections that the edge closed under a client, \
         which then asked again. With load, eight more connections ask without a pause and check each answer; edge, load, \
         slots and clock share the cores, so times are those of a saturated machine.",
    );
    section.paragraph(
        "The calls: for the module, a `PUT` on a kept connection to its unix socket, which answers when the switch is on \
         disk. For HAProxy, `set map` on a kept connection to its stats socket, which holds in memory only. For Caddy, a \
         `PATCH` of the upstream on a kept connection to its admin API. For the reload, writing the upstream's file and \
         `nginx -s reload`, which returns when the master has been told.",
    );
    section.table(&times(&idle, &busy));
    section.paragraph(
        "The module's acknowledgement beside a bare flush of one page of a file in the same folder, in turn:",
    );
    section.table(&flushes(&idle, &busy));
    section.paragraph(&goals(&idle, &busy));
    section.measured_with(&format!(
        "nginx {}, HAProxy {} and Caddy {}",
        machine::nginx_version(Flavour::Debian)?,
        machine::package_version("haproxy")?,
        machine::package_version("caddy")?
    ))
}

fn times(idle: &[Series], busy: &[Series]) -> Table<10> {
    let mut table = Table::new([
        "edge",
        "switches",
        "call, median",
        "call, p99",
        "moved, median",
        "moved, p99",
        "answers",
        "stale",
        "failed",
        "closed",
    ]);
    for (load, series) in [("idle", idle), ("with load", busy)] {
        for series in series {
            table.row([
                format!("{}, {load}", series.name),
                count(series.calls().len() as u64),
                seconds(series.calls().median()),
                seconds(series.calls().percentile(0.99)),
                seconds(series.moved().median()),
                seconds(series.moved().percentile(0.99)),
                count(series.answers),
                count(series.stale),
                count(series.failed),
                count(series.closed),
            ]);
        }
    }
    table
}

fn flushes(idle: &[Series], busy: &[Series]) -> Table<6> {
    let mut table = Table::new([
        "load",
        "call, median",
        "call, p99",
        "bare flush, median",
        "bare flush, p99",
        "call less moved, median",
    ]);
    for (load, series) in [("idle", idle.first()), ("with load", busy.first())] {
        let Some(series) = series else { continue };
        table.row([
            load.to_owned(),
            seconds(series.calls().median()),
            seconds(series.calls().percentile(0.99)),
            seconds(series.flushes().median()),
            seconds(series.flushes().percentile(0.99)),
            seconds(series.acknowledged_after().median()),
        ]);
    }
    table
}

fn goals(idle: &[Series], busy: &[Series]) -> String {
    let mut sentences = Vec::new();
    for (load, series) in [("idle", idle), ("with load", busy)] {
        let [ours, haproxy, ..] = series else { continue };
        let moved = |series: &Series| series.moved().median();
        let late = ours.acknowledged_after().median() <= ours.flushes().median();
        sentences.push(format!(
            "{load}, moved in a median at or below HAProxy's ({} and {}): {}; acknowledged at most one flush after that: \
             {}; none stale: {}; none failed: {}.",
            seconds(moved(ours)),
            seconds(moved(haproxy)),
            verdict(moved(ours) <= moved(haproxy)),
            verdict(late),
            verdict(ours.stale == 0),
            verdict(ours.failed == 0),
        ));
    }
    format!("Goals: {}", sentences.join(" "))
}
