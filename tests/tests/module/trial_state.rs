//! Trials in the state file: concurrent changes, a damaged route, and a lease after a reboot.

use std::sync::Arc;

use cutover_core::api::{RouteChange, TrialPhase};
use cutover_core::event::Kind;
use cutover_core::route::{Destination, Route};
use cutover_core::slot::SlotId;
use cutover_tests::state_file::StateFile;
use cutover_tests::test_edge::UPSTREAMS;
use cutover_tests::{Nginx, TestEdge};

const GROUP: &str = "cutover shop { slot blue shop_blue; slot green shop_green; active blue; }";
const LOCATION: &str = "location / { proxy_pass http://shop; }";

async fn start() -> TestEdge {
    TestEdge::start(&TestEdge::http(UPSTREAMS, LOCATION)).await.unwrap()
}

#[tokio::test]
async fn two_changes_at_once_never_mix_their_terms() {
    let edge = start().await;
    let admin = Arc::new(edge.nginx.admin());
    for round in 0..40 {
        let route = edge.group().await.unwrap().route;
        let (generation, to) = (route.generation, if route.active == "blue" { "green" } else { "blue" });
        let calls = (1..=4u32).map(|n| {
            let admin = Arc::clone(&admin);
            let json = format!(
                r#"{{"active":"{to}","lease_ms":{}000,"guard":{{"min_requests":{n},"max_error_ratio":0.{n},"window_ms":{n}000}}}}"#,
                n * 100
            );
            let change: RouteChange = serde_json::from_str(&json).unwrap();
            tokio::spawn(async move { (n, admin.try_change("shop", &change, Some(generation)).await.unwrap()) })
        });
        let mut winner = None;
        for call in calls.collect::<Vec<_>>() {
            let (n, reply) = call.await.unwrap();
            match reply.status {
                200 => assert_eq!(winner.replace(n), None, "round {round}: two winners"),
                412 => {}
                other => panic!("{other}: {}", reply.body),
            }
        }
        let n = winner.unwrap();
        let trial = edge.group().await.unwrap().route.trial.unwrap();
        let guard = trial.guard.unwrap();
        assert_eq!((guard.min_requests, guard.window_ms), (n, n * 1000), "round {round}");
        assert_eq!(guard.max_error_ratio.unwrap().parts(), (n * 1000) as u16, "round {round}");
        let left = trial.lease_left_ms.unwrap();
        assert!(
            left <= u64::from(n) * 100_000 && left > u64::from(n) * 100_000 - 60_000,
            "round {round}: {left}"
        );
    }
}

/// A change over a damaged route decides where the traffic goes. Its trial must not be taken for an older one.
#[tokio::test]
async fn a_change_over_a_damaged_route_can_be_on_trial() {
    let edge = start().await;
    for _ in 0..3 {
        edge.change(r#"{"active":"green","lease_ms":600000}"#).await.unwrap();
        edge.change(r#"{"active":"blue"}"#).await.unwrap();
    }
    StateFile::open(&edge.nginx).unwrap().write_route([0x5a; 8]).unwrap();
    let group = edge.change(r#"{"active":"green","lease_ms":600000}"#).await.unwrap();
    assert_eq!((group.route.active.as_str(), group.route.generation), ("green", 7));
    assert_eq!(group.route.trial.unwrap().phase, TrialPhase::Armed);
}

/// The route says that a trial is armed, and no trial is there yet. The next change waits for it; requests do not.
#[tokio::test]
async fn a_change_that_waits_for_another_one_keeps_no_request_waiting() {
    let builder = Nginx::builder().workers(1).http(&TestEdge::http(UPSTREAMS, LOCATION));
    let edge = TestEdge::start_with(builder).await.unwrap();
    let to = Destination { active: SlotId::new(2).unwrap(), split: None, armed: true };
    let word = Route { to, generation: 7 }.encode();
    StateFile::open(&edge.nginx).unwrap().write_route(word.to_ne_bytes()).unwrap();
    let admin = edge.nginx.admin();
    let change = tokio::spawn(async move { admin.switch("shop", "blue").await });
    let mut client = edge.connect().await.unwrap();
    let mut answers = 0;
    while !change.is_finished() {
        client.request("GET", "/", &[]).await.unwrap();
        answers += 1;
    }
    let group = change.await.unwrap().unwrap();
    assert_eq!((group.route.active.as_str(), group.route.generation), ("blue", 8));
    assert!(answers >= 5, "{answers} answers while the change waited");
}

/// The group is added by a reload, some time after the start that followed the reboot.
#[tokio::test]
async fn a_lease_goes_on_by_the_wall_clock_also_for_a_group_that_comes_later() {
    let edge = start().await;
    edge.change(r#"{"active":"green","lease_ms":60000}"#).await.unwrap();
    edge.nginx.kill_all().await.unwrap();
    let file = StateFile::open(&edge.nginx).unwrap();
    file.reboot().unwrap();
    file.begin_earlier(120_000).unwrap();
    let http = TestEdge::http(UPSTREAMS, LOCATION);
    assert!(http.contains(GROUP));
    edge.nginx.write_http(&http.replace(GROUP, "").replace("http://shop", "http://shop_blue")).unwrap();
    edge.nginx.start().await.unwrap();
    edge.nginx.write_http(&http).unwrap();
    edge.nginx.reload().await.unwrap();
    let group = edge.until_active("blue").await.unwrap();
    assert_eq!(group.events.last().unwrap().kind, Kind::Lease);
}
