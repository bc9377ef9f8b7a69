//! The host's wall clock steps back and far ahead while nginx runs: the module must not be affected.

use std::collections::BTreeSet;

use cutover_tests::SteppingClock;
use cutover_tests::test_edge::{LOCATION, TestEdge, UPSTREAMS};

const DAY: i64 = 86_400;

#[tokio::test(flavor = "multi_thread")]
async fn the_clock_steps_back_and_ahead() {
    let Some(clock) = SteppingClock::new().unwrap() else { return };
    let edge =
        TestEdge::start_with(clock.builder().http(&TestEdge::http(UPSTREAMS, LOCATION))).await.unwrap();
    let load = edge.load().unwrap();
    for days in [0, -7, 3650, -3650, 1] {
        clock.set(days * DAY).unwrap();
        edge.shop.switch_times(&load, 5).await.unwrap();
        edge.nginx.reload().await.unwrap();
        edge.shop.switch_times(&load, 5).await.unwrap();
        edge.nginx.upgrade().await.unwrap();
    }
    let report = load.stop().await;
    edge.assert_exact("a clock that steps, 50 switches", &report).unwrap();
    edge.until_counted(report.total).await.unwrap();
    clock.set(-30 * DAY).unwrap();
    edge.nginx.kill_all().await.unwrap();
    edge.nginx.start().await.unwrap();
    edge.shop.assert_settled().await.unwrap();
    let log = edge.nginx.error_log();
    let years: BTreeSet<&str> =
        log.lines().filter_map(|line| line.split_once('/')).map(|(year, _)| year).collect();
    assert!(years.len() >= 3, "nginx has not used the stepped clock: {years:?}");
}
