//! A binary upgrade that is taken back: the new master ends and the old one continues.

use anyhow::Result;
use cutover_tests::footprint::Footprint;
use cutover_tests::process::{self, Signal};
use cutover_tests::test_edge::{LOCATION, TestEdge, UPSTREAMS};
use cutover_tests::wait;

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_is_taken_back_under_load() {
    let edge = TestEdge::start(&TestEdge::http(UPSTREAMS, LOCATION)).await.unwrap();
    let master = edge.nginx.master().unwrap();
    let before = Footprint::of(master).unwrap();
    let load = edge.load().unwrap();
    let work = async {
        for _ in 0..3 {
            // While the old workers still accept connections.
            let old = edge.nginx.begin_upgrade().await?;
            load.answers(300).await?;
            edge.nginx.take_back(old).await?;
            load.answers(100).await?;
            // After the old workers were told to stop: HUP starts new ones first, as nginx's manual says.
            let old = edge.nginx.begin_upgrade().await?;
            dismiss_workers_of(&edge, old).await?;
            load.answers(300).await?;
            process::signal(old, Signal::HUP)?;
            wait::until("workers of both masters", || edge.nginx.workers().len() == 4).await?;
            edge.nginx.take_back(old).await?;
            load.answers(100).await?;
        }
        Ok(())
    };
    let switches = edge.switch_during(&load, work).await.unwrap();
    let report = load.stop().await;
    edge.assert_exact(&format!("6 upgrades taken back, {switches} switches"), &report).unwrap();

    assert_eq!(edge.nginx.master().unwrap(), master);
    // Each request was counted once, by a worker of either master.
    edge.until_counted(report.total).await.unwrap();
    let after = Footprint::of(master).unwrap();
    println!("before: {before}\nafter: {after}");
    assert_eq!((after.descriptors, after.own_mappings), (before.descriptors, before.own_mappings));
    // Then an upgrade that is completed.
    edge.nginx.upgrade().await.unwrap();
    edge.shop.assert_settled().await.unwrap();
    edge.shop.switch().await.unwrap();
    edge.nginx.kill_all().await.unwrap();
    edge.nginx.start().await.unwrap();
    edge.shop.assert_settled().await.unwrap();
}

/// The new master is killed and its workers are told to finish. The old master still has the lock and the route.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_new_master_leaves_the_old_one_in_charge() {
    let edge = TestEdge::start(&TestEdge::http(UPSTREAMS, LOCATION)).await.unwrap();
    let load = edge.load().unwrap();
    let work = async {
        for _ in 0..3 {
            let old_workers = edge.nginx.workers();
            let old = edge.nginx.begin_upgrade().await?;
            edge.nginx.kill_master().await?;
            load.answers(100).await?;
            let orphans: Vec<_> =
                edge.nginx.workers().into_iter().filter(|worker| !old_workers.contains(worker)).collect();
            orphans.iter().try_for_each(|orphan| process::signal(*orphan, Signal::QUIT))?;
            process::gone(&orphans, wait::PATIENCE).await?;
            wait::until("the old master's pid file", || edge.nginx.master().is_ok_and(|now| now == old))
                .await?;
            load.answers(100).await?;
        }
        Ok(())
    };
    edge.nginx.expect_in_log("exited on signal 9");
    let switches = edge.switch_during(&load, work).await.unwrap();
    let report = load.stop().await;
    edge.assert_exact(&format!("3 new masters killed, {switches} switches"), &report).unwrap();
    // Each request was counted once, by a worker of either master.
    edge.until_counted(report.total).await.unwrap();
    edge.nginx.reload().await.unwrap();
    edge.shop.assert_settled().await.unwrap();
}

/// The old master does not lose a slot that the new configuration has dropped, and ignores one that it has added.
#[tokio::test(flavor = "multi_thread")]
async fn after_an_upgrade_is_taken_back_the_old_slots_are_valid() {
    let http = "
        cutover_state %%prefix%%/state;
        upstream b { server %%blue%%; } upstream g { server %%green%%; } upstream r { server 127.0.0.1:1; }
        cutover shop { slot blue b; slot %%second%%; active blue; }
        server { listen %%listen:main%%; location / { proxy_pass http://shop; } }
        server { listen %%admin%%; location / { cutover_api write=on; } }
    ";
    let edge = TestEdge::start_with(cutover_tests::Nginx::builder().set("second", "green g").http(http))
        .await
        .unwrap();
    edge.nginx.set("second", "red r");
    edge.nginx.write_http(http).unwrap();
    let old = edge.nginx.begin_upgrade().await.unwrap();
    edge.nginx.take_back(old).await.unwrap();
    let load = edge.load().unwrap();
    edge.shop.switch_times(&load, 10).await.unwrap();
    let report = load.stop().await;
    edge.assert_exact("slots of the old configuration", &report).unwrap();
}

async fn dismiss_workers_of(edge: &TestEdge, old: process::Pid) -> Result<()> {
    process::signal(old, Signal::WINCH)?;
    wait::until("the new workers alone", || edge.nginx.workers().len() == 2).await
}
