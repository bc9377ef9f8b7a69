//! Many reloads: descriptors, mappings and memory do not grow.

use cutover_tests::footprint::Footprint;
use cutover_tests::nginx::Nginx;
use cutover_tests::test_edge::{LOCATION, TestEdge, UPSTREAMS};
use cutover_tests::{Backend, Load, Plan, SlotOracle, wait};

/// Groups besides the one under load: a leak per group shows forty-fold.
pub(super) const OTHER_GROUPS: usize = 40;

/// nginx's own memory grows during the first reloads only.
pub(super) const WARM_UP: u32 = 10;

/// Allowed growth of a process's anonymous memory, in KiB, for fragmentation. Over 200 reloads with 41 groups this is 32
/// bytes per group and reload; valgrind finds the same bytes in use after 5 reloads and after 45.
const TOLERANCE: u64 = 256;

#[tokio::test(flavor = "multi_thread")]
async fn twenty_reloads_leak_nothing() {
    assert_no_leak(20).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute"]
async fn two_hundred_reloads_leak_nothing() {
    stock_for_comparison(200).await;
    assert_no_leak(200).await;
}

async fn assert_no_leak(reloads: u32) {
    let http = TestEdge::http(UPSTREAMS, LOCATION) + &other_groups();
    let edge = TestEdge::start(&http).await.unwrap();
    reload_under_load(&edge, WARM_UP).await;
    let before = look(&edge.nginx).await;
    reload_under_load(&edge, reloads).await;
    let after = look(&edge.nginx).await;
    assert_flat(before, after, &format!("{reloads} reloads"));
}

pub(super) fn other_groups() -> String {
    (0..OTHER_GROUPS)
        .map(|n| format!("cutover other{n} {{ slot one shop_blue; slot two shop_green; active two; }}\n"))
        .collect()
}

/// Asserts that the master and its worker use no more resources than before.
pub(super) fn assert_flat(before: (Footprint, Footprint), after: (Footprint, Footprint), what: &str) {
    for (role, before, after) in [("master", before.0, after.0), ("worker", before.1, after.1)] {
        println!("{role} before: {before}\n{role} after {what}: {after}");
        assert_eq!(after.own_mappings, 2, "the state file and the counters, once each");
        assert_eq!(after.files, before.files, "{role}: {after}");
        assert!(after.mappings <= before.mappings + 4, "{role}: {after}");
        assert!(after.anonymous <= before.anonymous + TOLERANCE, "{role}: {after}");
    }
    assert_eq!(after.0.descriptors, before.0.descriptors, "the master, which has no connections");
}

async fn reload_under_load(edge: &TestEdge, reloads: u32) {
    let load = edge.load().unwrap();
    let work = async {
        for _ in 0..reloads {
            edge.nginx.reload().await?;
            load.answers(50).await?;
        }
        Ok(())
    };
    let switches = edge.switch_during(&load, work).await.unwrap();
    let report = load.stop().await;
    edge.assert_exact(&format!("{reloads} reloads, {switches} switches"), &report).unwrap();
    edge.shop.assert_settled().await.unwrap();
}

/// Waits for the end of the old workers. Returns the footprint of the master and of the larger worker.
pub(super) async fn look(nginx: &Nginx) -> (Footprint, Footprint) {
    wait::until("the old workers to end", || nginx.pids().len() == 3).await.unwrap();
    // The master closes what connected it with a worker only when it has noticed its end.
    let ends = || nginx.error_log().matches("exited with code").count();
    let starts = || nginx.error_log().matches("start worker process ").count();
    wait::until("the master to notice it", || starts() - ends() == 2).await.unwrap();
    let workers = nginx.workers().into_iter().map(|worker| Footprint::of(worker).unwrap());
    let largest = workers.max_by_key(|worker| worker.anonymous).unwrap();
    (Footprint::of(nginx.master().unwrap()).unwrap(), largest)
}

/// Prints the footprint of nginx without the module, for comparison.
async fn stock_for_comparison(reloads: u32) {
    let blue = Backend::start("blue").await.unwrap();
    let http = "upstream shop { server %%blue%%; keepalive 32; }
        server { listen %%listen:main%%; location / { proxy_pass http://shop; } }";
    let builder = Nginx::builder().without_module().set("blue", blue.address()).http(http);
    let nginx = builder.start().await.unwrap();
    let load = Load::start(Plan::new(nginx.address("main").unwrap()), &SlotOracle::new("blue"));
    for number in 0..WARM_UP + reloads {
        if number == WARM_UP {
            println!("stock master before: {}", look(&nginx).await.0);
        }
        nginx.reload().await.unwrap();
        load.answers(50).await.unwrap();
    }
    load.stop().await;
    println!("stock master after {reloads} reloads: {}", look(&nginx).await.0);
}
