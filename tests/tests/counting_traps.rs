//! Places where a count is easily wrong: two masters at once, answers from the cache in place of a failing slot, requests that
//! wait for another's answer, kept connections that the server has closed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use cutover_core::counters::{Counters, Responses};
use cutover_tests::client::{self, Client};
use cutover_tests::{Action, Backend, Nginx, wait};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

const HTTP: &str = "
    cutover_state %%prefix%%/state;
    proxy_cache_path %%prefix%%/cache keys_zone=answers:1m inactive=10m;
    upstream b { server %%blue%%; keepalive 8; }
    upstream g { server %%green%%; }
    cutover shop { slot blue b; slot green g; active blue; }
    proxy_http_version 1.1;
    proxy_set_header Connection '';
    server {
        listen %%listen:main%%;
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
    }
    server { listen %%admin%%; location / { cutover_api write=on; } }
";

struct Edge {
    blue: Backend,
    green: Backend,
    nginx: Nginx,
}

impl Edge {
    async fn start() -> Self {
        let blue = Backend::start("blue").await.unwrap();
        let green = Backend::start("green").await.unwrap();
        let builder = Nginx::builder().set("blue", blue.address()).set("green", green.address());
        let nginx = builder.http(HTTP).start().await.unwrap();
        Self { blue, green, nginx }
    }

    async fn counters(&self, slot: &str) -> Counters {
        self.nginx.admin().group("shop").await.unwrap().slot(slot).unwrap().counters
    }

    async fn wait_for(&self, slot: &str, what: &str, mut check: impl FnMut(&Counters) -> bool) {
        let check = async || check(&self.counters(slot).await);
        wait::until_async(wait::PATIENCE, what, check).await.unwrap();
    }

    /// Begins requests that end when their client goes.
    async fn hanging(&self, number: usize) -> Vec<Client> {
        let mut clients = Vec::new();
        for _ in 0..number {
            let mut client = Client::connect(self.nginx.address("main").unwrap()).await.unwrap();
            client.send("GET", "/hang", &[]).await.unwrap();
            clients.push(client);
        }
        clients
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_flight_stay_counted_over_a_binary_upgrade() {
    let edge = Edge::start().await;
    edge.blue.on("/hang", Action::Hang);
    let old = edge.hanging(5).await;
    edge.wait_for("blue", "5 in flight", |now| now.in_flight == 5).await;
    let master = edge.nginx.begin_upgrade().await.unwrap();
    assert_eq!(edge.counters("blue").await.in_flight, 5, "the old master's workers hold them still");
    let new = edge.hanging(3).await;
    edge.wait_for("blue", "8 in flight", |now| now.in_flight == 8).await;
    drop(old);
    edge.wait_for("blue", "the new ones only", |now| now.in_flight == 3).await;
    drop(new);
    edge.wait_for("blue", "none", |now| now.in_flight == 0).await;
    edge.nginx.retire(master).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_answer_does_not_hide_a_failing_slot() {
    let mut edge = Edge::start().await;
    let address = edge.nginx.address("main").unwrap();
    edge.blue.on("/stale", Action::status(200).header("cache-control", "max-age=1"));
    assert_eq!(client::get(address, "/stale").await.unwrap().status, 200);
    edge.nginx.admin().switch("shop", "green").await.unwrap();
    edge.green.on("/stale", Action::status(500));
    tokio::time::sleep(Duration::from_millis(2100)).await;
    for _ in 0..3 {
        assert_eq!(client::get(address, "/stale").await.unwrap().status, 200, "nginx answers from its cache");
    }
    edge.wait_for("green", "three 5xx of the slot", |now| now.responses.server_error == 3).await;
    assert_eq!(edge.counters("green").await.responses.success, 0);
    edge.green.stop().await;
    assert_eq!(client::get(address, "/stale").await.unwrap().status, 200);
    edge.wait_for("green", "a fourth one", |now| now.responses.server_error == 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waits_for_the_cache_lock_holds_its_slot() {
    let edge = Edge::start().await;
    let address = edge.nginx.address("main").unwrap();
    edge.blue.on(
        "/locked",
        Action::status(200).header("cache-control", "no-store").after(Duration::from_millis(800)),
    );
    let first = tokio::spawn(client::get(address, "/locked"));
    edge.wait_for("blue", "the first", |now| now.in_flight == 1).await;
    let second = tokio::spawn(client::get(address, "/locked"));
    edge.wait_for("blue", "the one that waits for it", |now| now.in_flight == 2).await;
    assert_eq!(edge.counters("blue").await.requests, 1, "it is not given to the slot yet");
    edge.nginx.admin().switch("shop", "green").await.unwrap();
    for answer in [first.await.unwrap().unwrap(), second.await.unwrap().unwrap()] {
        assert_eq!(answer.status, 200);
    }
    edge.wait_for("blue", "both gone", |now| now.in_flight == 0 && now.requests == 2).await;
    assert_eq!(edge.blue.truth().requests, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_that_the_server_closed_is_no_failure() {
    let edge = Edge::start().await;
    edge.blue.on("/cut", Action::Cut);
    // One connection to nginx is one worker, which keeps one connection to the slot.
    let mut client = Client::connect(edge.nginx.address("main").unwrap()).await.unwrap();
    assert_eq!(client.request("GET", "/", &[]).await.unwrap().status, 200);
    // First over the kept connection, which closes: nginx tries anew, for free. Then over a fresh one: that is a failure.
    assert_eq!(client.request("GET", "/cut", &[]).await.unwrap().status, 502);
    edge.wait_for("blue", "both answered", |now| now.responses.total() == 2).await;
    let counters = edge.counters("blue").await;
    assert_eq!((counters.attempts, counters.attempts_failed), (3, 1), "{counters:?}");
    assert_eq!(edge.blue.truth().cut, 2);
}

/// nginx ends a request with `NGX_ERROR` when it cannot read on in a body.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_stops_making_sense_is_cut_off() {
    for place in ["/", "/unbuffered"] {
        let mut edge = Edge::start().await;
        let address = edge.green.address();
        edge.green.stop().await;
        let listener = TcpListener::bind(address).await.unwrap();
        edge.nginx.admin().switch("shop", "green").await.unwrap();
        let answer = tokio::spawn(client::get(edge.nginx.address("main").unwrap(), place));
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nno chunk\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        assert!(answer.await.unwrap().is_err(), "{place}");
        edge.wait_for("green", "its end", |now| now.responses.total() == 1).await;
        let counters = edge.counters("green").await;
        let responses = Responses { server_error: 1, ..Responses::default() };
        assert_eq!((counters.responses, counters.attempts_failed), (responses, 1), "{place}");
    }
}
