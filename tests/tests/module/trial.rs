//! A change on trial: the guard and the lease take the traffic back inside nginx, without the daemon.

use std::time::Duration;

use cutover_core::api::{ErrorCode, Group, RouteChange, TrialPhase};
use cutover_core::event::Kind;
use cutover_tests::{Action, TestEdge, client, wait};
use hyper::Method;

const HTTP: &str = "
    cutover_state %%prefix%%/state;
    upstream blue  { server %%blue%% max_fails=0; keepalive 8; }
    upstream green { server %%green%% max_fails=0; keepalive 8; }
    cutover shop { slot blue blue; slot green green; active blue; }
    proxy_http_version 1.1;
    proxy_set_header Connection '';
    server { listen %%listen:main%%; location / { proxy_pass http://shop; } }
    server { listen %%listen:preview%%; location / { cutover_slot standby; proxy_pass http://shop; } }
    server { listen %%admin%%; location / { cutover_api write=on; } }
";

const GUARD: &str = r#""guard":{"min_requests":10,"max_error_ratio":0.2,"window_ms":60000}"#;

async fn start() -> TestEdge {
    TestEdge::start(HTTP).await.unwrap()
}

fn change(json: &str) -> RouteChange {
    serde_json::from_str(json).unwrap()
}

fn kinds(group: &Group) -> Vec<Kind> {
    group.events.iter().map(|event| event.kind).collect()
}

fn is_held(group: &Group) -> bool {
    group.route.trial.as_ref().is_some_and(|trial| trial.phase == TrialPhase::Held)
}

#[tokio::test]
async fn the_guard_goes_back_at_the_request_that_breaks_it() {
    let edge = start().await;
    edge.change(&format!(r#"{{"active":"green",{GUARD},"reason":"v2"}}"#)).await.unwrap();
    for _ in 0..7 {
        assert_eq!(edge.get("/").await.unwrap().status, 200);
    }
    edge.green.on("/", Action::status(500));
    // 2 of 9: too few requests. 3 of 10: more than a fifth.
    for bad in 1..=3 {
        assert_eq!(edge.group().await.unwrap().route.active, "green", "before {bad}");
        assert_eq!(edge.get("/").await.unwrap().status, 500);
    }
    let group = edge.until_active("blue").await.unwrap();
    assert_eq!(edge.get("/").await.unwrap().status, 200);
    assert_eq!((group.route.generation, &group.route.trial), (2, &None));
    assert_eq!(kinds(&group), [Kind::Switch, Kind::Guard]);
    let event = &group.events[1];
    assert_eq!((event.from.as_str(), event.to.as_str(), event.who.as_str()), ("green", "blue", "guard"));
    let figures = event.figures.unwrap();
    assert_eq!((figures.requests, figures.errors), (10, 3));
    assert_eq!(event.reason, "3 of 10 requests failed: 30.00 %, the limit is 20 %");
    assert_eq!(edge.slot("green").await.unwrap().counters.responses.server_error, 3);
}

#[tokio::test]
async fn slow_requests_break_the_guard_too() {
    let edge = start().await;
    edge.green.on("/slow", Action::status(200).after(Duration::from_millis(120)));
    let guard = r#""guard":{"min_requests":4,"max_slow_ratio":0.5,"slow_ms":100,"window_ms":60000}"#;
    edge.change(&format!(r#"{{"active":"green",{guard}}}"#)).await.unwrap();
    for target in ["/", "/slow", "/slow", "/slow"] {
        assert_eq!(edge.get(target).await.unwrap().status, 200);
    }
    let group = edge.until_active("blue").await.unwrap();
    assert_eq!(group.events[1].reason, "3 of 4 requests took longer than 100 ms: 75.00 %, the limit is 50 %");
}

#[tokio::test]
async fn an_unreachable_release_costs_few_requests_under_load() {
    let mut edge = start().await;
    let load = edge.load().unwrap();
    load.answers(200).await.unwrap();
    edge.green.stop().await;
    let announced = edge.oracle().announce("green");
    edge.change(&format!(r#"{{"active":"green",{GUARD}}}"#)).await.unwrap();
    announced.acknowledge();
    let back = edge.oracle().announce("blue");
    edge.until_active("blue").await.unwrap();
    back.acknowledge();
    load.answers(400).await.unwrap();
    let report = load.stop().await;
    let failed = edge.slot("green").await.unwrap().counters.responses.server_error;
    assert!((3..60).contains(&failed), "{failed} requests failed before the guard went back");
    assert_eq!(report.failures.len() as u64, failed, "only the bad release failed requests: {report:?}");
    assert_eq!(report.stale, 0, "{report:?}");
}

#[tokio::test]
async fn the_guard_does_not_go_back_to_a_slot_that_is_failing() {
    let edge = start().await;
    edge.nginx.expect_in_log("stays on \"green\"");
    edge.blue.on("/", Action::status(500));
    edge.green.on("/", Action::status(500));
    // With an even split, green could reach ten requests before blue reaches the three that show its failures.
    edge.change(&format!(r#"{{"split":{{"blue":90,"green":10}},{GUARD}}}"#)).await.unwrap();
    wait::until_async(wait::PATIENCE, "the trial to be held", async || {
        edge.get("/").await.unwrap();
        is_held(&edge.group().await.unwrap())
    })
    .await
    .unwrap();
    let group = edge.group().await.unwrap();
    assert_eq!((group.route.generation, group.route.split.is_some()), (1, true), "the split stays");
    let held = group.events.last().unwrap();
    assert_eq!(held.kind, Kind::Held);
    assert!(held.reason.contains("slot \"blue\" is failing too"), "{}", held.reason);
    let renewed = edge.nginx.admin().renew("shop", 1000).await.unwrap();
    assert_eq!(renewed.failure().unwrap().error.code, ErrorCode::NotArmed);
    assert_eq!(
        edge.nginx.admin().confirm("shop").await.unwrap().status,
        200,
        "an operator can confirm a held trial"
    );
    assert_eq!(edge.group().await.unwrap().route.trial, None);
}

#[tokio::test]
async fn a_bad_split_is_taken_back_whole() {
    let edge = start().await;
    edge.green.on("/", Action::Cut);
    edge.change(&format!(r#"{{"split":{{"blue":50,"green":50}},{GUARD}}}"#)).await.unwrap();
    wait::until_async(wait::PATIENCE, "the split to be taken back", async || {
        edge.get("/").await.unwrap();
        edge.group().await.unwrap().route.split.is_none()
    })
    .await
    .unwrap();
    let group = edge.group().await.unwrap();
    assert_eq!((group.route.active.as_str(), group.route.generation), ("blue", 2));
    assert_eq!(kinds(&group), [Kind::Split, Kind::Guard]);
    assert_eq!(group.events[0].percent.unwrap().parts(), 5_000);
}

#[tokio::test]
async fn an_older_guard_judges_no_newer_route() {
    let edge = start().await;
    edge.change(&format!(r#"{{"active":"green",{GUARD}}}"#)).await.unwrap();
    edge.green.on("/", Action::status(500));
    for _ in 0..9 {
        edge.get("/").await.unwrap();
    }
    // A change without a guard: the old guard has no effect any more.
    edge.change(r#"{"active":"green","fence":true}"#).await.unwrap();
    for _ in 0..20 {
        assert_eq!(edge.get("/").await.unwrap().status, 500);
    }
    let route = edge.group().await.unwrap().route;
    assert_eq!((route.active.as_str(), route.generation), ("green", 2));
}

#[tokio::test]
async fn previews_are_not_judged() {
    let edge = start().await;
    edge.green.on("/", Action::status(500));
    edge.change(&format!(r#"{{"split":{{"blue":99.99,"green":0.01}},{GUARD}}}"#)).await.unwrap();
    for _ in 0..30 {
        assert_eq!(client::get(edge.nginx.address("preview").unwrap(), "/").await.unwrap().status, 500);
    }
    assert!(edge.group().await.unwrap().route.split.is_some());
}

#[tokio::test]
async fn a_lease_ends_without_any_traffic() {
    let edge = start().await;
    let armed = edge.change(r#"{"active":"green","lease_ms":400}"#).await.unwrap();
    let trial = armed.route.trial.unwrap();
    assert_eq!(
        (trial.slot.as_str(), trial.fallback.as_str(), trial.phase),
        ("green", "blue", TrialPhase::Armed)
    );
    assert!(trial.lease_left_ms.is_some_and(|left| left <= 400));
    let group = edge.until_active("blue").await.unwrap();
    assert_eq!(kinds(&group), [Kind::Switch, Kind::Lease]);
    assert_eq!((group.events[1].who.as_str(), group.route.generation), ("lease", 2));
}

#[tokio::test]
async fn a_renewed_lease_lives_on_and_a_confirmed_switch_stays() {
    let edge = start().await;
    edge.change(r#"{"active":"green","lease_ms":700}"#).await.unwrap();
    for _ in 0..8 {
        let renewed = edge.nginx.admin().renew("shop", 700).await.unwrap();
        assert_eq!(renewed.status, 200, "{}", renewed.body);
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    assert_eq!(edge.group().await.unwrap().route.active, "green");
    assert_eq!(edge.nginx.admin().confirm("shop").await.unwrap().status, 200);
    assert_eq!(edge.group().await.unwrap().route.trial, None);
    tokio::time::sleep(Duration::from_millis(900)).await;
    let group = edge.group().await.unwrap();
    assert_eq!((group.route.active.as_str(), group.route.generation), ("green", 1));
    assert_eq!(kinds(&group), [Kind::Switch, Kind::Confirm]);
    for reply in [
        edge.nginx.admin().confirm("shop").await.unwrap(),
        edge.nginx.admin().renew("shop", 900).await.unwrap(),
    ] {
        assert_eq!((reply.status, reply.failure().unwrap().error.code), (409, ErrorCode::NotArmed));
    }
}

#[tokio::test]
async fn a_lease_ends_over_a_reload_and_an_upgrade() {
    let edge = start().await;
    edge.change(r#"{"active":"green","lease_ms":1500}"#).await.unwrap();
    edge.nginx.reload().await.unwrap();
    edge.until_active("blue").await.unwrap();
    edge.change(r#"{"active":"green","lease_ms":2500}"#).await.unwrap();
    edge.nginx.upgrade().await.unwrap();
    let group = edge.until_active("blue").await.unwrap();
    assert_eq!(kinds(&group), [Kind::Switch, Kind::Lease, Kind::Switch, Kind::Lease]);
}

#[tokio::test]
async fn a_lease_ends_when_the_worker_that_armed_it_is_dead() {
    let edge = start().await;
    edge.change(r#"{"active":"green","lease_ms":1200}"#).await.unwrap();
    edge.nginx.kill_worker().await.unwrap();
    edge.nginx.kill_worker().await.unwrap();
    edge.until_active("blue").await.unwrap();
}

#[tokio::test]
async fn a_lease_that_ended_while_nginx_was_dead_is_over_at_once() {
    let edge = start().await;
    edge.change(r#"{"active":"green","lease_ms":300,"reason":"v2"}"#).await.unwrap();
    edge.nginx.kill_all().await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    edge.nginx.start().await.unwrap();
    assert_eq!(edge.get("/").await.unwrap().status, 200);
    let group = edge.group().await.unwrap();
    assert_eq!((group.route.active.as_str(), group.route.generation), ("blue", 2));
    assert_eq!(kinds(&group), [Kind::Switch, Kind::Lease], "the events are kept over a restart");
    assert_eq!(edge.blue.truth().requests, 1, "the first request goes back");
}

#[tokio::test]
async fn a_guard_is_armed_still_after_a_restart() {
    let edge = start().await;
    edge.change(&format!(r#"{{"active":"green",{GUARD}}}"#)).await.unwrap();
    edge.nginx.kill_all().await.unwrap();
    edge.nginx.start().await.unwrap();
    edge.green.on("/", Action::status(502));
    for _ in 0..10 {
        assert_eq!(edge.get("/").await.unwrap().status, 502);
    }
    edge.until_active("blue").await.unwrap();
}

#[tokio::test]
async fn invalid_terms_are_refused_and_change_nothing() {
    let edge = start().await;
    for (json, code) in [
        (r#"{"active":"blue","lease_ms":1000}"#, ErrorCode::BadTrial),
        (r#"{"active":"green","lease_ms":5}"#, ErrorCode::BadTrial),
        (r#"{"active":"green","guard":{"min_requests":5,"window_ms":5000}}"#, ErrorCode::BadTrial),
        (r#"{"split":{"blue":60,"green":60}}"#, ErrorCode::BadSplit),
        (r#"{"split":{"blue":60,"pink":40}}"#, ErrorCode::UnknownSlot),
    ] {
        let reply = edge.nginx.admin().try_change("shop", &change(json), None).await.unwrap();
        assert_eq!(reply.failure().unwrap().error.code, code, "{json}: {}", reply.body);
    }
    let admin = edge.nginx.admin();
    let headers = [("content-type", "application/json")];
    let bad = admin.raw(Method::POST, "/v1/groups/shop/renew", &headers, r#"{"lease_ms":1}"#).await.unwrap();
    assert_eq!(bad.failure().unwrap().error.code, ErrorCode::BadTrial);
    let group = edge.group().await.unwrap();
    assert_eq!((group.route.generation, group.events.len()), (0, 0));
}

#[tokio::test]
async fn the_ring_keeps_the_last_sixty_four_events() {
    let edge = start().await;
    for n in 0..70 {
        let to = if n % 2 == 0 { "green" } else { "blue" };
        edge.change(&format!(r#"{{"active":"{to}","reason":"change {n}"}}"#)).await.unwrap();
    }
    edge.nginx.reload().await.unwrap();
    let group = edge.group().await.unwrap();
    let numbers: Vec<u64> = group.events.iter().map(|event| event.number).collect();
    assert_eq!(numbers, (7..=70).collect::<Vec<_>>());
    let last = group.events.last().unwrap();
    assert_eq!((last.reason.as_str(), last.who.as_str(), last.generation), ("change 69", "uid 0", 70));
    edge.nginx.stop().await.unwrap();
    edge.nginx.start().await.unwrap();
    edge.change(r#"{"active":"green","reason":"after a restart"}"#).await.unwrap();
    assert_eq!(edge.group().await.unwrap().events.last().unwrap().number, 71, "numbers continue");
}

/// A reload drops the fallback while the change is on trial: an operator must look.
#[tokio::test]
async fn a_lease_whose_fallback_was_dropped_is_held() {
    let edge = start().await;
    edge.change(r#"{"active":"green","lease_ms":1000}"#).await.unwrap();
    edge.nginx.expect_in_log("the slot to go back to is no longer configured");
    edge.nginx
        .write_http(
            &HTTP
                .replace("slot blue blue; slot green green; active blue;", "slot green green; active green;"),
        )
        .unwrap();
    edge.nginx.reload().await.unwrap();
    edge.until("the trial to be held", is_held).await.unwrap();
    assert_eq!(edge.get("/").await.unwrap().status, 200);
    assert_eq!(edge.nginx.admin().confirm("shop").await.unwrap().status, 200);
}
