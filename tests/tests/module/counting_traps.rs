//! Cases in which counting is error-prone: two masters at once, answers from the cache in place of a failing slot, requests
//! that wait for the cache lock, kept connections that the server has closed.

use std::time::Duration;

use cutover_core::counters::{Counters, Responses};
use cutover_tests::{Action, Client, TestEdge, client, ports};
use tokio::io::AsyncWriteExt;

const UPSTREAMS: &str = "
    proxy_cache_path %%prefix%%/cache keys_zone=answers:1m inactive=10m;
    upstream shop_blue { server %%blue%%; keepalive 8; }
    upstream shop_green { server %%green%%; }
";

const LOCATIONS: &str = "
    location / { proxy_pass http://shop; }
    location /unbuffered { proxy_buffering off; proxy_pass http://shop; }
    location /stale {
        proxy_cache answers;
        proxy_cache_valid 200 1s;
        proxy_cache_use_stale error timeout http_500;
        proxy_pass http://shop;
    }
    location /locked {
        proxy_cache answers;
        proxy_cache_key $cutover_slot$uri;
        proxy_cache_lock on;
        proxy_cache_lock_timeout 30s;
        proxy_pass http://shop;
    }
";

async fn start() -> TestEdge {
    TestEdge::start(&TestEdge::http(UPSTREAMS, LOCATIONS)).await.unwrap()
}

/// Waits until `check` holds for the counters of a slot.
async fn wait_for(edge: &TestEdge, slot: &str, what: &str, check: impl Fn(&Counters) -> bool) {
    edge.until(what, |shop| check(&shop.slot(slot).unwrap().counters)).await.unwrap();
}

/// Begins requests that end when their client disconnects.
async fn hanging(edge: &TestEdge, number: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..number {
        let mut client = edge.connect().await.unwrap();
        client.send("GET", "/hang", &[]).await.unwrap();
        clients.push(client);
    }
    clients
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_flight_stay_counted_over_a_binary_upgrade() {
    let edge = start().await;
    edge.blue.on("/hang", Action::Hang);
    let old = hanging(&edge, 5).await;
    wait_for(&edge, "blue", "5 in flight", |now| now.in_flight == 5).await;
    let master = edge.nginx.begin_upgrade().await.unwrap();
    assert_eq!(
        edge.slot("blue").await.unwrap().counters.in_flight,
        5,
        "the old master's workers still have them"
    );
    let new = hanging(&edge, 3).await;
    wait_for(&edge, "blue", "8 in flight", |now| now.in_flight == 8).await;
    drop(old);
    wait_for(&edge, "blue", "3 in flight", |now| now.in_flight == 3).await;
    drop(new);
    wait_for(&edge, "blue", "none in flight", |now| now.in_flight == 0).await;
    edge.nginx.retire(master).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_answer_does_not_hide_a_failing_slot() {
    let mut edge = start().await;
    edge.blue.on("/stale", Action::status(200).header("cache-control", "max-age=1"));
    assert_eq!(edge.get("/stale").await.unwrap().status, 200);
    edge.shop.switch_to("green").await.unwrap();
    edge.green.on("/stale", Action::status(500));
    tokio::time::sleep(Duration::from_millis(2100)).await;
    for _ in 0..3 {
        assert_eq!(edge.get("/stale").await.unwrap().status, 200, "nginx answers from its cache");
    }
    wait_for(&edge, "green", "three 5xx answers of the slot", |now| now.responses.server_error == 3).await;
    assert_eq!(edge.slot("green").await.unwrap().counters.responses.success, 0);
    edge.green.stop().await;
    assert_eq!(edge.get("/stale").await.unwrap().status, 200);
    wait_for(&edge, "green", "a fourth 5xx answer", |now| now.responses.server_error == 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waits_for_the_cache_lock_holds_its_slot() {
    let edge = start().await;
    let address = edge.nginx.address("main").unwrap();
    edge.blue.on(
        "/locked",
        Action::status(200).header("cache-control", "no-store").after(Duration::from_millis(800)),
    );
    let first = tokio::spawn(client::get(address, "/locked"));
    wait_for(&edge, "blue", "the first request", |now| now.in_flight == 1).await;
    let second = tokio::spawn(client::get(address, "/locked"));
    wait_for(&edge, "blue", "the request that waits for the first one", |now| now.in_flight == 2).await;
    assert_eq!(
        edge.slot("blue").await.unwrap().counters.requests,
        1,
        "the waiting request has not been given to the slot yet"
    );
    edge.shop.switch_to("green").await.unwrap();
    for answer in [first.await.unwrap().unwrap(), second.await.unwrap().unwrap()] {
        assert_eq!(answer.status, 200);
    }
    wait_for(&edge, "blue", "both requests to end", |now| now.in_flight == 0 && now.requests == 2).await;
    assert_eq!(edge.blue.truth().requests, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_that_the_server_closed_is_no_failure() {
    let edge = start().await;
    edge.blue.on("/cut", Action::Cut);
    // One connection to nginx uses one worker, which keeps one connection to the slot.
    let mut client = edge.connect().await.unwrap();
    assert_eq!(client.request("GET", "/", &[]).await.unwrap().status, 200);
    // First over the kept connection, which closes: nginx retries without counting a try. Then over a fresh one: a failure.
    assert_eq!(client.request("GET", "/cut", &[]).await.unwrap().status, 502);
    wait_for(&edge, "blue", "both answered", |now| now.responses.total() == 2).await;
    let counters = edge.slot("blue").await.unwrap().counters;
    assert_eq!((counters.attempts, counters.attempts_failed), (3, 1), "{counters:?}");
    assert_eq!(edge.blue.truth().cut, 2);
}

/// nginx ends a request with `NGX_ERROR` when it cannot parse the rest of a body.
#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_chunk_cuts_the_answer_off() {
    for place in ["/", "/unbuffered"] {
        let mut edge = start().await;
        let address = edge.green.address();
        edge.green.stop().await;
        let listener = ports::listen(address).await.unwrap();
        edge.shop.switch_to("green").await.unwrap();
        let answer = tokio::spawn(client::get(edge.nginx.address("main").unwrap(), place));
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nno chunk\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        assert!(answer.await.unwrap().is_err(), "{place}");
        wait_for(&edge, "green", "the end of the request", |now| now.responses.total() == 1).await;
        let counters = edge.slot("green").await.unwrap().counters;
        let responses = Responses { server_error: 1, ..Responses::default() };
        assert_eq!((counters.responses, counters.attempts_failed), (responses, 1), "{place}");
    }
}
