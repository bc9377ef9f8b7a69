//! Promises 1 and 2: after the call of a switch has returned no request goes to the old slot, and no switch loses a request,
//! also while nginx reloads and while its program is replaced.

use std::time::{Duration, Instant};

use cutover_tests::load::Report;
use cutover_tests::test_edge::{LOCATION, TestEdge, UPSTREAMS};
use cutover_tests::{Action, Client, wait};

async fn start() -> TestEdge {
    TestEdge::start(&TestEdge::http(UPSTREAMS, LOCATION)).await.unwrap()
}

async fn assert_exact(edge: &TestEdge, what: &str, switches: u32, report: &Report) {
    edge.assert_exact(&format!("{what}, {switches} switches"), report).unwrap();
    assert!(switches >= 20, "only {switches} switches");
    assert_eq!(edge.blue.truth().requests + edge.green.truth().requests, report.total, "{report}");
    assert_eq!(edge.nginx.admin().group("shop").await.unwrap().route.generation, switches);
}

#[tokio::test(flavor = "multi_thread")]
async fn switches_are_exact() {
    let edge = start().await;
    let load = edge.load().unwrap();
    let answers = async {
        for _ in 0..20 {
            load.answers(250).await?;
        }
        Ok(())
    };
    let switches = edge.switch_during(&load, answers).await.unwrap();
    let report = load.stop().await;
    assert_exact(&edge, "switching", switches, &report).await;
    assert_eq!(report.reconnects, 0, "a switch closes no connection: {report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn switches_are_exact_while_nginx_reloads() {
    let edge = start().await;
    let load = edge.load().unwrap();
    let reloads = async {
        for _ in 0..6 {
            edge.nginx.reload().await.unwrap();
            load.answers(200).await.unwrap();
        }
        Ok(())
    };
    let switches = edge.switch_during(&load, reloads).await.unwrap();
    let report = load.stop().await;
    assert_exact(&edge, "switching and reloading", switches, &report).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn switches_are_exact_while_the_program_is_replaced() {
    let edge = start().await;
    let load = edge.load().unwrap();
    let upgrades = async {
        for _ in 0..3 {
            // Now two masters and four workers run, and each must follow each switch.
            let old = edge.nginx.begin_upgrade().await.unwrap();
            load.answers(500).await.unwrap();
            edge.nginx.retire(old).await.unwrap();
            load.answers(200).await.unwrap();
        }
        Ok(())
    };
    let switches = edge.switch_during(&load, upgrades).await.unwrap();
    let report = load.stop().await;
    assert_exact(&edge, "switching and upgrading", switches, &report).await;
}

/// The same for a minute.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute"]
async fn switches_are_exact_for_a_minute() {
    let edge = start().await;
    let load = edge.load().unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    let changes = async {
        while Instant::now() < end {
            edge.nginx.reload().await.unwrap();
            load.answers(4000).await.unwrap();
            edge.nginx.upgrade().await.unwrap();
            load.answers(4000).await.unwrap();
        }
        Ok(())
    };
    let switches = edge.switch_during(&load, changes).await.unwrap();
    let report = load.stop().await;
    assert_exact(&edge, "switching, reloading and upgrading", switches, &report).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_under_way_end_where_they_began() {
    let edge = start().await;
    // Longer than a switch takes on a disk that is busy.
    edge.blue.on("/slow", Action::status(200).after(Duration::from_secs(3)));
    let address = edge.nginx.address("main").unwrap();
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let mut client = Client::connect(address).await.unwrap();
        client.send("GET", "/slow", &[]).await.unwrap();
        waiting.push(client);
    }
    wait::until("the requests to arrive", || edge.blue.truth().in_flight == 20).await.unwrap();
    edge.shop.switch().await.unwrap();
    assert_eq!(edge.blue.truth().in_flight, 20, "the call returned while the requests were in progress");
    for client in &mut waiting {
        let answer = client.answer().await.unwrap();
        assert_eq!((answer.status, answer.head.header("x-slot")), (200, Some("blue")));
        // The same connection, after the switch.
        let next = client.request("GET", "/", &[]).await.unwrap();
        assert_eq!((next.status, next.head.header("x-slot")), (200, Some("green")));
    }
    assert_eq!(edge.blue.truth().answered, [(200, 20)].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_route_outlives_the_death_of_everything() {
    let edge = start().await;
    for _ in 0..3 {
        edge.shop.switch().await.unwrap();
        edge.nginx.kill_all().await.unwrap();
        edge.nginx.start().await.unwrap();
        let load = edge.load().unwrap();
        load.answers(200).await.unwrap();
        let report = load.stop().await;
        assert_eq!((report.failed(), report.stale), (0, 0), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_in_place_of_a_killed_one_knows_the_route() {
    let edge = start().await;
    for _ in 0..3 {
        edge.nginx.kill_worker().await.unwrap();
        edge.shop.switch().await.unwrap();
        let load = edge.load().unwrap();
        load.answers(300).await.unwrap();
        let report = load.stop().await;
        assert_eq!((report.failed(), report.stale), (0, 0), "{report}");
    }
}
