//! Rescue: while a change is on trial, a request that the new slot fails is retried on the old one, exactly when nginx itself
//! would retry it.

use cutover_tests::{Action, Backend, Nginx, TestEdge, wait};

const HTTP: &str = "
    cutover_state %%prefix%%/state;
    upstream blue  { server %%blue%% max_fails=0; keepalive 8; }
    upstream green { server %%green%% max_fails=0; keepalive 8; }
    upstream pair  { server %%green%% max_fails=0; server %%second%% max_fails=0; }
    upstream down  { server %%green%% down; }
    cutover shop { slot blue blue; slot green green; slot pair pair; slot down down; active blue; }
    proxy_http_version 1.1;
    proxy_set_header Connection '';
    server {
        listen %%listen:main%%;
        location / { proxy_pass http://shop; }
        location /never { proxy_next_upstream off; proxy_pass http://shop; }
        location /status { proxy_next_upstream error timeout http_503; proxy_pass http://shop; }
        location /status-twice {
            proxy_next_upstream error timeout http_503;
            proxy_next_upstream_tries 2;
            proxy_pass http://shop;
        }
        location /missing { proxy_next_upstream http_404; proxy_pass http://shop; }
        location /once { proxy_next_upstream_tries 1; proxy_pass http://shop; }
        location /twice { proxy_next_upstream_tries 2; proxy_pass http://shop; }
        location /thrice { proxy_next_upstream_tries 3; proxy_pass http://shop; }
        location /short { proxy_read_timeout 200ms; proxy_pass http://shop; }
        location /unbuffered { proxy_request_buffering off; proxy_pass http://shop; }
    }
    server { listen %%admin%%; location / { cutover_api write=on; } }
";

/// Starts nginx and the backends; also returns the second server of slot `pair`.
async fn start_pair() -> (TestEdge, Backend) {
    let second = Backend::start("second").await.unwrap();
    let builder = Nginx::builder().set("second", second.address()).http(HTTP);
    (TestEdge::start_with(builder).await.unwrap(), second)
}

/// The same for a test that does not use slot `pair`.
async fn start() -> TestEdge {
    start_pair().await.0
}

#[tokio::test]
async fn a_dead_release_costs_no_request_under_load() {
    let mut edge = start().await;
    let load = edge.load().unwrap();
    load.answers(200).await.unwrap();
    edge.green.stop().await;
    edge.try_out("green", true).await.unwrap();
    load.answers(1000).await.unwrap();
    edge.green.resume().await.unwrap();
    edge.shop.switch_to("blue").await.unwrap();
    load.answers(200).await.unwrap();
    let report = load.stop().await;
    assert_eq!(report.failed(), 0, "{report:?}");
    let green = edge.slot("green").await.unwrap().counters;
    // The first of the thousand answers belong to requests that were sent before the switch.
    assert!(green.responses.rescued >= 900, "{green:?}");
    assert_eq!(green.attempts_failed, green.responses.rescued + green.responses.server_error, "{green:?}");
    assert_eq!(green.in_flight, 0);
}

#[tokio::test]
async fn what_nginx_may_try_again_is_rescued() {
    let edge = start().await;
    edge.green.on("/cut", Action::Cut);
    edge.green.on("/short/hang", Action::Hang);
    edge.green.on("/status", Action::status(503));
    edge.green.on("/plain", Action::status(503));
    edge.try_out("green", true).await.unwrap();
    assert_eq!(edge.get("/fine").await.unwrap().status_and_slot(), (200, "green"));
    assert_eq!(edge.get("/cut").await.unwrap().status_and_slot(), (200, "blue"));
    assert_eq!(edge.request("PUT", "/cut").await.unwrap().status_and_slot(), (200, "blue"));
    assert_eq!(edge.get("/short/hang").await.unwrap().status_and_slot(), (200, "blue"));
    assert_eq!(edge.get("/status").await.unwrap().status_and_slot(), (200, "blue"));
    let green = edge.slot("green").await.unwrap();
    assert_eq!((green.counters.responses.rescued, green.counters.responses.success), (4, 1));
    assert_eq!((green.failures.answer, green.failures.timeout, green.failures.status), (2, 1, 1));
    let truth = edge.blue.truth();
    assert_eq!(truth.requests, 4);
    wait::until("the last counts", || edge.blue.truth().in_flight == 0).await.unwrap();
    let blue = edge.slot("blue").await.unwrap().counters;
    assert_eq!((blue.requests, blue.attempts, blue.responses.success), (4, 4, 4));
}

#[tokio::test]
async fn what_nginx_would_not_try_again_is_not_rescued() {
    let edge = start().await;
    edge.green.on("/", Action::Cut);
    edge.green.on("/status", Action::status(503));
    edge.green.on("/plain", Action::status(503));
    edge.green.on("/half", Action::CutBody);
    edge.try_out("green", true).await.unwrap();
    assert_eq!(edge.request("POST", "/cut").await.unwrap().status, 502, "not idempotent");
    assert_eq!(edge.get("/never").await.unwrap().status, 502, "proxy_next_upstream off");
    assert_eq!(
        edge.get("/plain").await.unwrap().status_and_slot(),
        (503, "green"),
        "by default a status is not a failure"
    );
    assert_eq!(edge.request("POST", "/status").await.unwrap().status_and_slot(), (503, "green"));
    let half = edge.get("/half").await;
    assert!(half.is_err(), "an answer that has begun cannot be replaced: {half:?}");
    assert_eq!(edge.blue.truth().requests, 0);
    assert_eq!(edge.slot("green").await.unwrap().counters.responses.rescued, 0);
}

#[tokio::test]
async fn rescue_is_off_unless_asked_for_and_ends_with_the_trial() {
    let edge = start().await;
    edge.green.on("/", Action::Cut);
    edge.try_out("green", false).await.unwrap();
    assert_eq!(edge.get("/").await.unwrap().status, 502);
    edge.shop.switch_to("blue").await.unwrap();
    edge.try_out("green", true).await.unwrap();
    assert_eq!(edge.get("/").await.unwrap().status_and_slot(), (200, "blue"));
    assert_eq!(edge.nginx.admin().confirm("shop").await.unwrap().status, 200);
    assert_eq!(edge.get("/").await.unwrap().status, 502);
}

#[tokio::test]
async fn a_status_that_is_passed_on_is_rescued_too() {
    let edge = start().await;
    edge.green.on("/", Action::status(404));
    let guarded = r#"{"active":"green","rescue":true,"guard":{"min_requests":1,"max_error_ratio":0,"window_ms":60000}}"#;
    edge.change(guarded).await.unwrap();
    assert_eq!(edge.get("/missing").await.unwrap().status_and_slot(), (200, "blue"));
    assert_eq!(
        edge.get("/").await.unwrap().status_and_slot(),
        (404, "green"),
        "the slot's own answer, without proxy_next_upstream http_404"
    );
    let green = edge.slot("green").await.unwrap().counters;
    assert_eq!(
        (green.attempts_failed, green.responses.rescued),
        (0, 1),
        "nginx does not count it as a failure of the server"
    );
}

/// nginx does not count an attempt on a kept connection that the server has just closed.
#[tokio::test]
async fn a_closed_kept_connection_costs_no_rescue() {
    let edge = start().await;
    for target in ["/status", "/status-twice"] {
        edge.green.on("/", Action::status(200));
        edge.shop.switch_to("blue").await.unwrap();
        edge.try_out("green", true).await.unwrap();
        // Now each worker keeps connections to green.
        for _ in 0..10 {
            assert_eq!(edge.get("/").await.unwrap().status_and_slot(), (200, "green"));
        }
        edge.green.on("/", Action::CloseThen(503));
        for _ in 0..10 {
            assert_eq!(edge.get(target).await.unwrap().status_and_slot(), (200, "blue"), "{target}");
        }
    }
}

#[tokio::test]
async fn all_peers_of_the_slot_come_first() {
    let (edge, second) = start_pair().await;
    edge.green.on("/", Action::Cut);
    second.on("/", Action::Cut);
    edge.try_out("pair", true).await.unwrap();
    assert_eq!(edge.get("/").await.unwrap().status_and_slot(), (200, "blue"));
    assert_eq!((edge.green.truth().requests, second.truth().requests), (1, 1));
    let pair = edge.slot("pair").await.unwrap().counters;
    assert_eq!((pair.attempts, pair.attempts_failed, pair.responses.rescued), (2, 2, 1));
}

#[tokio::test]
async fn the_limit_of_tries_holds_for_both_slots_together() {
    let (edge, second) = start_pair().await;
    edge.green.on("/", Action::Cut);
    second.on("/", Action::Cut);
    edge.try_out("pair", true).await.unwrap();
    assert_eq!(edge.get("/once").await.unwrap().status, 502, "nginx would not try again");
    assert_eq!(
        edge.get("/twice").await.unwrap().status_and_slot(),
        (200, "blue"),
        "one server of the slot, then the fallback"
    );
    assert_eq!(edge.get("/thrice").await.unwrap().status_and_slot(), (200, "blue"));
    let pair = edge.slot("pair").await.unwrap().counters;
    assert_eq!((pair.attempts, pair.responses.rescued), (4, 2));
}

#[tokio::test]
async fn a_slot_without_a_live_peer_is_rescued_at_once() {
    let edge = start().await;
    edge.try_out("down", true).await.unwrap();
    assert_eq!(edge.get("/").await.unwrap().status_and_slot(), (200, "blue"));
    assert_eq!(
        edge.request("POST", "/").await.unwrap().status_and_slot(),
        (200, "blue"),
        "nothing has been sent yet"
    );
    let down = edge.slot("down").await.unwrap();
    assert_eq!((down.failures.no_peer, down.counters.responses.rescued), (2, 2));
}

#[tokio::test]
async fn when_both_slots_fail_the_client_gets_the_error() {
    let edge = start().await;
    edge.green.on("/", Action::Cut);
    edge.blue.on("/", Action::Cut);
    edge.try_out("green", true).await.unwrap();
    assert_eq!(edge.get("/").await.unwrap().status, 502);
    let group = edge.group().await.unwrap();
    assert_eq!(group.slot("green").unwrap().counters.responses.rescued, 1);
    assert_eq!(group.slot("blue").unwrap().server_errors.bad_gateway, 1);
    assert_eq!((edge.green.truth().requests, edge.blue.truth().requests), (1, 1), "once each");
}

/// A separate configuration, because nginx can be built without a cache.
const CACHED: &str = "
    cutover_state %%prefix%%/state;
    upstream blue  { server %%blue%% max_fails=0; }
    upstream green { server %%green%% max_fails=0; }
    cutover shop { slot blue blue; slot green green; active blue; }
    proxy_cache_path %%prefix%%/cache keys_zone=cache:1m;
    server {
        listen %%listen:main%%;
        location / { proxy_cache cache; proxy_cache_key $cutover_slot$uri; proxy_cache_valid 1h; proxy_pass http://shop; }
    }
    server { listen %%admin%%; location / { cutover_api write=on; } }
";

/// The cache key can contain the slot, so the fallback's answer must not be cached under it.
#[tokio::test]
async fn a_rescued_answer_is_not_cached() {
    let edge = TestEdge::start_with(Nginx::builder().http(CACHED)).await.unwrap();
    edge.green.on("/cached", Action::Cut);
    edge.try_out("green", true).await.unwrap();
    assert_eq!(edge.get("/cached").await.unwrap().status_and_slot(), (200, "blue"));
    edge.green.on("/cached", Action::status(200));
    assert_eq!(edge.get("/cached").await.unwrap().status_and_slot(), (200, "green"));
    // nginx writes a cache entry after it has sent the answer.
    let kept = async || {
        let before = edge.green.truth().requests;
        assert_eq!(edge.get("/cached").await.unwrap().status_and_slot(), (200, "green"));
        edge.green.truth().requests == before
    };
    wait::until_async(wait::PATIENCE, "green's own answer in the cache", kept).await.unwrap();
}
