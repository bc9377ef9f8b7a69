//! The clock of the host steps, back and far ahead, while nginx runs: nothing in the module may notice.

use std::collections::BTreeSet;
use std::fs;

use cutover_tests::edge::{Edge, LOCATION, UPSTREAMS};
use cutover_tests::{Nginx, wait};

const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

const MAIN: &str =
    "env LD_PRELOAD; env FAKETIME_TIMESTAMP_FILE; env FAKETIME_NO_CACHE; env FAKETIME_DONT_FAKE_MONOTONIC;";

#[tokio::test(flavor = "multi_thread")]
async fn the_clock_steps_back_and_ahead() {
    if !fs::exists(LIBRARY).unwrap() {
        println!("SKIPPED: no {LIBRARY}; it is in Debian's package libfaketime, for amd64");
        return;
    }
    let folder = cutover_tests::temp::TempDir::new().unwrap();
    let clock = folder.path().join("clock");
    let set = |offset: &str| {
        let new = folder.path().join("new");
        fs::write(&new, offset).unwrap();
        fs::rename(&new, &clock).unwrap();
    };
    set("+0d");
    let builder = Nginx::builder().main(MAIN).through(&[
        "env",
        &format!("LD_PRELOAD={LIBRARY}"),
        &format!("FAKETIME_TIMESTAMP_FILE={}", clock.display()),
        "FAKETIME_NO_CACHE=1",
        "FAKETIME_DONT_FAKE_MONOTONIC=1",
    ]);
    let edge = Edge::start_with(builder.http(&Edge::http(UPSTREAMS, LOCATION))).await.unwrap();
    let load = edge.load().unwrap();
    for offset in ["+0d", "-7d", "+3650d", "-3650d", "+1d"] {
        set(offset);
        edge.shop.switch_times(&load, 5).await.unwrap();
        edge.nginx.reload().await.unwrap();
        edge.shop.switch_times(&load, 5).await.unwrap();
        edge.nginx.upgrade().await.unwrap();
    }
    let report = load.stop().await;
    edge.assert_exact("a clock that steps, 50 switches", &report).unwrap();
    let idle = async || {
        let group = edge.nginx.admin().group("shop").await.unwrap();
        group.slots.iter().map(|slot| slot.counters.responses.success).sum::<u64>() == report.total
            && group.slots.iter().all(|slot| slot.counters.in_flight == 0)
    };
    wait::until_async(wait::PATIENCE, "all requests in the counters", idle).await.unwrap();
    set("-30d");
    edge.nginx.kill_all().await.unwrap();
    edge.nginx.start().await.unwrap();
    edge.shop.assert_settled().await.unwrap();
    let log = edge.nginx.error_log();
    let years: BTreeSet<&str> =
        log.lines().filter_map(|line| line.split_once('/')).map(|(year, _)| year).collect();
    assert!(years.len() >= 3, "nginx has not seen the clock step: {years:?}");
}
