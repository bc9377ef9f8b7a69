//! The counters of a slot, compared with what the backends received: also over retries, internal redirects, `error_page`,
//! subrequests, clients that disconnect, upgraded connections, reloads and killed workers.

use std::time::{Duration, Instant};

use cutover_core::counters::{Counters, Responses};
use cutover_tests::client::{self, Client};
use cutover_tests::{Action, Backend, Nginx, wait};

const HTTP: &str = "
    cutover_state %%prefix%%/state;
    upstream one    { server %%one%%; keepalive 8; }
    upstream two    { server %%dead%% max_fails=0; server %%one%% max_fails=0; }
    upstream dead   { server %%dead%%; }
    upstream second { server %%second%%; keepalive 8; }
    upstream down   { server %%dead%% down; }
    cutover shop  { slot blue one; slot green two; slot dead dead; slot down down; active blue; }
    cutover other { slot blue second; slot green one; active blue; }

    map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
    proxy_http_version 1.1;
    proxy_set_header Connection $connection_upgrade;
    proxy_set_header Upgrade $http_upgrade;

    server {
        listen %%listen:main%%;
        location / { proxy_pass http://shop; }
        location /retry-503 { proxy_next_upstream http_503; proxy_pass http://shop; }
        location /kept/ { internal; proxy_pass http://other; }
        location /with-error-page {
            proxy_intercept_errors on;
            error_page 500 502 503 = @excuse;
            proxy_pass http://shop;
        }
        location @excuse { proxy_pass http://other; }
        location /guarded { auth_request /auth; proxy_pass http://shop; }
        location = /auth { internal; proxy_pass http://other/auth; }
        location /mirrored { mirror /mirror; proxy_pass http://shop; }
        location = /mirror { internal; proxy_pass http://other; }
        location /denied { deny all; proxy_pass http://shop; }
        location /short { proxy_read_timeout 300ms; proxy_pass http://shop; }
    }
    server { listen %%admin%%; location / { cutover_api write=on; } }
";

/// Groups `shop` and `other`, with a server that both use, a server of `other` only, and a dead server of `shop`.
struct TwoGroups {
    one: Backend,
    second: Backend,
    nginx: Nginx,
}

impl TwoGroups {
    async fn start() -> Self {
        let one = Backend::start("blue").await.unwrap();
        let second = Backend::start("second").await.unwrap();
        let nginx = Nginx::builder()
            .set("one", one.address())
            .set("second", second.address())
            .set("dead", cutover_tests::ports::free().unwrap())
            .http(HTTP)
            .start()
            .await
            .unwrap();
        Self { one, second, nginx }
    }

    async fn switch(&self, slot: &str) {
        self.nginx.admin().switch("shop", slot).await.unwrap();
    }

    async fn get(&self, target: &str) -> u16 {
        client::get(self.nginx.address("main").unwrap(), target).await.unwrap().status
    }

    async fn connect(&self) -> Client {
        Client::connect(self.nginx.address("main").unwrap()).await.unwrap()
    }

    async fn counters(&self, group: &str, slot: &str) -> Counters {
        self.nginx.admin().group(group).await.unwrap().slot(slot).unwrap().counters
    }

    /// Waits until this many requests have ended, which is shortly after their clients have received the last byte.
    async fn ended(&self, group: &str, slot: &str, requests: u64) -> Counters {
        let what = format!("the end of {requests} requests to {group} {slot}");
        wait::until_async(wait::PATIENCE, &what, async || {
            self.counters(group, slot).await.responses.total() >= requests
        })
        .await
        .unwrap();
        self.counters(group, slot).await
    }

    /// Waits until the counters have these values. nginx counts when an upstream request ends, shortly after the client has
    /// received the last byte.
    async fn assert(&self, group: &str, slot: &str, expected: Counters) {
        let start = Instant::now();
        loop {
            let counters = self.counters(group, slot).await;
            if counters == expected {
                return;
            }
            assert!(
                start.elapsed() < Duration::from_secs(3),
                "{group} {slot}: {counters:#?}, not {expected:#?}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The counters after requests that were all answered at the first attempt.
fn answered(responses: Responses) -> Counters {
    let requests = responses.total();
    Counters { requests, attempts: requests, responses, ..Counters::default() }
}

fn success(number: u64) -> Counters {
    answered(Responses { success: number, ..Responses::default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_counted_by_class() {
    let edge = TwoGroups::start().await;
    for (status, times) in [(200, 4), (204, 1), (302, 2), (404, 3), (500, 2), (503, 1)] {
        edge.one.on("/", Action::status(status));
        for _ in 0..times {
            assert_eq!(edge.get("/").await, status);
        }
    }
    let responses =
        Responses { success: 5, redirection: 2, client_error: 3, server_error: 3, ..Responses::default() };
    edge.assert("shop", "blue", answered(responses)).await;
    edge.assert("shop", "green", Counters::default()).await;
    assert_eq!(edge.one.truth().requests, 13);
    assert_eq!(edge.get("/denied").await, 403);
    edge.assert("shop", "blue", answered(responses)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retried_request_is_one_request_and_two_attempts() {
    let edge = TwoGroups::start().await;
    edge.switch("green").await;
    for _ in 0..10 {
        assert_eq!(edge.get("/").await, 200);
    }
    let counters = edge.ended("shop", "green", 10).await;
    assert_eq!(counters.requests, 10);
    assert_eq!(counters.attempts, 10 + counters.attempts_failed);
    assert!(counters.attempts_failed >= 4, "every second request tries the dead server first: {counters:?}");
    assert_eq!(edge.one.truth().requests, counters.attempts - counters.attempts_failed);
    assert_eq!(counters.responses, Responses { success: 10, ..Responses::default() });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_is_retried_is_a_failed_attempt() {
    let edge = TwoGroups::start().await;
    edge.switch("green").await;
    edge.one.on("/retry-503", Action::status(503));
    for _ in 0..4 {
        assert!([502, 503].contains(&edge.get("/retry-503").await));
    }
    let counters = edge.ended("shop", "green", 4).await;
    assert_eq!((counters.requests, counters.responses.server_error), (4, 4));
    assert_eq!(counters.attempts, counters.attempts_failed, "{counters:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_slot_fails_every_attempt() {
    let edge = TwoGroups::start().await;
    for (slot, status) in [("dead", 502), ("down", 502)] {
        edge.switch(slot).await;
        for _ in 0..3 {
            assert_eq!(edge.get("/").await, status);
        }
        let responses = Responses { server_error: 3, ..Responses::default() };
        edge.assert("shop", slot, Counters { attempts_failed: 3, ..answered(responses) }).await;
    }
    assert_eq!(edge.one.truth().requests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_off_answer_is_a_failed_attempt() {
    let edge = TwoGroups::start().await;
    edge.one.on("/", Action::Cut);
    assert_eq!(edge.get("/").await, 502);
    edge.one.on("/", Action::CutBody);
    assert!(client::get(edge.nginx.address("main").unwrap(), "/").await.is_err());
    edge.one.on("/short", Action::Hang);
    assert_eq!(edge.get("/short").await, 504);
    let responses = Responses { server_error: 3, ..Responses::default() };
    edge.assert("shop", "blue", Counters { attempts_failed: 3, ..answered(responses) }).await;
    assert_eq!((edge.one.truth().requests, edge.one.truth().cut), (3, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_internal_redirect_counts_for_both_groups() {
    let edge = TwoGroups::start().await;
    edge.one.on("/", Action::status(200).header("x-accel-redirect", "/kept/thing"));
    for _ in 0..3 {
        assert_eq!(edge.get("/").await, 200);
    }
    edge.assert("shop", "blue", success(3)).await;
    edge.assert("other", "blue", success(3)).await;
    assert_eq!((edge.one.truth().requests, edge.second.truth().requests), (3, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_page_counts_for_the_slot_that_failed_and_the_one_that_answered() {
    let edge = TwoGroups::start().await;
    edge.one.on("/", Action::status(503));
    for _ in 0..3 {
        assert_eq!(edge.get("/with-error-page").await, 200);
    }
    edge.assert("shop", "blue", answered(Responses { server_error: 3, ..Responses::default() })).await;
    edge.switch("dead").await;
    assert_eq!(edge.get("/with-error-page").await, 200);
    let responses = Responses { server_error: 1, ..Responses::default() };
    edge.assert("shop", "dead", Counters { attempts_failed: 1, ..answered(responses) }).await;
    edge.assert("other", "blue", success(4)).await;
    assert_eq!((edge.one.truth().requests, edge.second.truth().requests), (3, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn subrequests_are_counted() {
    let edge = TwoGroups::start().await;
    for _ in 0..3 {
        assert_eq!(edge.get("/guarded").await, 200);
    }
    edge.assert("other", "blue", success(3)).await;
    edge.assert("shop", "blue", success(3)).await;
    edge.second.on("/auth", Action::status(401));
    assert_eq!(edge.get("/guarded").await, 401);
    let mut other = answered(Responses { success: 3, client_error: 1, ..Responses::default() });
    edge.assert("other", "blue", other).await;
    edge.assert("shop", "blue", success(3)).await;
    for _ in 0..2 {
        assert_eq!(edge.get("/mirrored").await, 200);
    }
    other.requests += 2;
    other.attempts += 2;
    other.responses.success += 2;
    edge.assert("other", "blue", other).await;
    edge.assert("shop", "blue", success(5)).await;
    assert_eq!((edge.one.truth().requests, edge.second.truth().requests), (5, 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_disconnects_counts_as_aborted() {
    let edge = TwoGroups::start().await;
    edge.one.on("/", Action::Hang);
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = edge.connect().await;
        client.send("GET", "/", &[]).await.unwrap();
        clients.push(client);
    }
    edge.assert("shop", "blue", Counters { requests: 3, attempts: 3, in_flight: 3, ..Counters::default() })
        .await;
    wait::until("all three at the backend", || edge.one.truth().in_flight == 3).await.unwrap();
    drop(clients);
    edge.assert("shop", "blue", answered(Responses { aborted: 3, ..Responses::default() })).await;
    wait::until("nginx to close its connections", || edge.one.truth().abandoned == 3).await.unwrap();
    wait::until("no request at the backend", || edge.one.truth().in_flight == 0).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgraded_connection_stays_in_flight_over_switch_and_reload() {
    let edge = TwoGroups::start().await;
    edge.one.on("/", Action::Upgrade);
    let mut client = edge.connect().await;
    let headers = [("connection", "upgrade"), ("upgrade", "echo")];
    let answer = client.request("GET", "/", &headers).await.unwrap();
    assert_eq!(answer.status, 101);
    let open = Counters { requests: 1, attempts: 1, in_flight: 1, ..Counters::default() };
    edge.assert("shop", "blue", open).await;
    edge.switch("dead").await;
    assert_eq!(client.echo(b"still here").await.unwrap(), b"still here");
    edge.assert("shop", "blue", open).await;
    edge.nginx.reload().await.unwrap();
    assert_eq!(client.echo(b"and here").await.unwrap(), b"and here");
    edge.assert("shop", "blue", open).await;
    drop(client);
    edge.assert("shop", "blue", answered(Responses { informational: 1, ..Responses::default() })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_survive_a_reload_and_gauges_recover_from_a_killed_worker() {
    let edge = TwoGroups::start().await;
    for _ in 0..5 {
        assert_eq!(edge.get("/").await, 200);
    }
    edge.nginx.reload().await.unwrap();
    edge.assert("shop", "blue", success(5)).await;
    edge.one.on("/hang", Action::Hang);
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = edge.connect().await;
        client.send("GET", "/hang", &[]).await.unwrap();
        clients.push(client);
    }
    wait::until("the requests to arrive", || edge.one.truth().in_flight == 8).await.unwrap();
    assert_eq!(edge.counters("shop", "blue").await.in_flight, 8);
    for _ in 0..edge.nginx.workers().len() {
        // This kills another worker each time, because the list begins with the oldest.
        edge.nginx.kill_worker().await.unwrap();
    }
    wait::until("the connections to the backend to close", || edge.one.truth().in_flight == 0).await.unwrap();
    assert_eq!(edge.get("/").await, 200);
    let expected = Counters { requests: 14, attempts: 14, in_flight: 0, ..success(6) };
    edge.assert("shop", "blue", expected).await;
}

/// Under load with concurrent requests, the module's counters equal those of the backends.
#[tokio::test(flavor = "multi_thread")]
async fn sums_are_right_under_load() {
    use cutover_tests::load::Request;
    use cutover_tests::{Load, Plan, SlotOracle};

    let edge = TwoGroups::start().await;
    let plan = Plan::new(edge.nginx.address("main").unwrap()).requests(vec![
        Request::get("/"),
        Request::post("/orders", "{}"),
        Request::get("/products?page=2"),
    ]);
    let load = Load::start(plan, &SlotOracle::new("blue"));
    for _ in 0..3 {
        load.answers(500).await.unwrap();
        edge.nginx.reload().await.unwrap();
    }
    let report = load.stop().await;
    assert_eq!((report.failed(), report.stale), (0, 0), "{report}");
    assert_eq!(edge.one.truth().requests, report.total);
    edge.assert("shop", "blue", success(report.total)).await;
}
