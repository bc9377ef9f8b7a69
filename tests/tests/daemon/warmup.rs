//! The warm-up: requests of the daemon itself to the new version before it gets the traffic.

use std::time::Duration;

use cutover_tests::test_edge::{LOCATION, UPSTREAMS};
use cutover_tests::test_host::GROUP_WITHOUT_TRAFFIC;
use cutover_tests::{Action, Daemon, TestEdge};

async fn host(warmup: &str) -> (TestEdge, Daemon) {
    let edge = TestEdge::start(&TestEdge::http(UPSTREAMS, LOCATION)).await.unwrap();
    let groups = format!("{GROUP_WITHOUT_TRAFFIC}    [group.shop.warmup]\n{warmup}");
    let daemon = Daemon::start(edge.nginx.prefix(), &groups).await.unwrap();
    (edge, daemon)
}

/// The requests go straight to the new version, before the switch, and nginx counts none of them.
#[tokio::test(flavor = "multi_thread")]
async fn it_warms_the_new_version_before_the_switch() {
    let (edge, daemon) = host("paths = [\"/products\", \"/cart?v={version}\"]\nrequests = 60\n").await;
    let deployed = daemon.deploy("shop", "2").await.unwrap();
    deployed.assert_ended("completed", 0).unwrap();
    let truth = edge.green.truth().targets;
    assert_eq!((truth.get("/products"), truth.get("/cart")), (Some(&30), Some(&30)), "{truth:?}");
    assert_eq!(edge.blue.truth().targets.get("/products"), None);
    let counted = edge.slot("green").await.unwrap();
    assert_eq!((counted.counters.requests, counted.previews.requests), (0, 0), "{counted:?}");
    let at = |what: &str| deployed.events.iter().position(|event| event.message.contains(what));
    let (warmed, switched) =
        (at("warmed up: 60 requests to 1 server, p99 "), at("switched to slot \"green\""));
    assert!(warmed.is_some() && warmed < switched, "{:#?}", deployed.events);
    assert!(deployed.events[warmed.unwrap()].message.contains(" ms at last, 0 of the answers 5xx in "));
}

/// The page is slow at first. The warm-up goes on until it is fast, or until its deadline.
#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_until_the_version_is_fast() {
    let (edge, daemon) = host("requests = 10\nuntil_p99 = \"100ms\"\ndeadline = \"20s\"\n").await;
    edge.green.on("/", Action::status(200).after(Duration::from_millis(300)));
    let mut deployment = daemon.begin_deploy("shop", "2").unwrap();
    loop {
        let event = deployment.next().await.unwrap().unwrap();
        if event.message.contains("warming up slot \"green\": 10 requests to 1 server") {
            break;
        }
    }
    let many = || edge.green.truth().targets.get("/").copied().unwrap_or_default() > 12;
    cutover_tests::wait::until("more requests than it needs at least", many).await.unwrap();
    edge.green.on("/", Action::status(200));
    let deployed = deployment.finish().await.unwrap();
    deployed.assert_ended("completed", 0).unwrap();
    assert!(
        deployed.events.iter().any(|event| event.message.starts_with("warmed up: ")),
        "{:#?}",
        deployed.events
    );

    let (edge, daemon) = host("requests = 10\nuntil_p99 = \"100ms\"\ndeadline = \"1s\"\n").await;
    edge.green.on("/", Action::status(200).after(Duration::from_millis(300)));
    let deployed = daemon.deploy("shop", "2").await.unwrap();
    deployed.assert_ended("completed", 0).unwrap();
    let late = deployed
        .events
        .iter()
        .find(|event| event.message.contains("the warm-up ended at its deadline of 1s"));
    let late = late.unwrap_or_else(|| panic!("{:#?}", deployed.events));
    assert!(late.message.contains("not below until_p99 = \"100ms\""), "{}", late.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_answers_5xx_fails_before_it_gets_traffic() {
    let (edge, daemon) = host("paths = [\"/products\"]\nrequests = 20\n").await;
    edge.green.on("/products", Action::status(500));
    let deployed = daemon.deploy("shop", "2").await.unwrap();
    deployed.assert_ended("failed", 3).unwrap();
    let last = &deployed.events.last().unwrap().message;
    assert!(
        last.contains(
            "warm-up failed: 20 requests to 1 server, 20 of the answers 5xx; the last status was 500"
        ),
        "{last}"
    );
    assert_eq!(edge.group().await.unwrap().route.generation, 0, "no traffic has moved");
}
