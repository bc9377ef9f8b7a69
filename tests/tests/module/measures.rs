//! The other figures of a slot: kinds of failures, statuses, bytes, upgraded connections, latencies; and the metrics page.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use cutover_core::api::Slot;
use cutover_core::counters::{Failures, ServerErrors};
use cutover_tests::{Action, Backend, Client, Nginx, client, flavour, wait};

const HTTP: &str = "
    cutover_state %%prefix%%/state;
    upstream one  { server %%one%%; keepalive 4; }
    upstream dead { server %%dead%% max_fails=0; }
    upstream down { server %%dead%% down; }
    upstream two  { server %%dead%% max_fails=0; server %%one%% max_fails=0; }
    cutover shop { slot blue one; slot dead dead; slot down down; slot two two; active blue; }
    map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
    proxy_http_version 1.1;
    proxy_set_header Connection $connection_upgrade;
    proxy_set_header Upgrade $http_upgrade;
    server {
        listen %%listen:main%%;
        location / { proxy_pass http://shop; }
        location /preview { cutover_slot two; proxy_pass http://shop; }
        location /short { proxy_read_timeout 200ms; proxy_pass http://shop; }
        location /status { proxy_next_upstream http_503; proxy_pass http://shop; }
        location = /metrics { cutover_metrics; }
    }
    server { listen %%admin%%; location / { cutover_api write=on; } }
";

struct OneServer {
    one: Backend,
    nginx: Nginx,
}

impl OneServer {
    async fn start() -> Self {
        let one = Backend::start("blue").await.unwrap();
        let nginx = Nginx::builder()
            .set("one", one.address())
            .set("dead", cutover_tests::ports::free().unwrap())
            .http(HTTP)
            .start()
            .await
            .unwrap();
        Self { one, nginx }
    }

    async fn get(&self, target: &str) -> anyhow::Result<client::Answer> {
        client::get(self.nginx.address("main").unwrap(), target).await
    }

    async fn slot(&self, slot: &str) -> Slot {
        self.nginx.admin().group("shop").await.unwrap().slot(slot).unwrap().clone()
    }

    /// Waits until this many requests have ended, which is shortly after their clients have received the last byte.
    async fn ended(&self, slot: &str, requests: u64) -> Slot {
        let what = format!("the end of {requests} requests to {slot}");
        wait::until_async(wait::PATIENCE, &what, async || {
            self.slot(slot).await.counters.responses.total() == requests
        })
        .await
        .unwrap();
        self.slot(slot).await
    }

    async fn switch(&self, slot: &str) {
        self.nginx.admin().switch("shop", slot).await.unwrap();
    }

    /// The metrics page, as text and by series.
    async fn metrics(&self) -> (String, BTreeMap<String, f64>) {
        let answer = self.get("/metrics").await.unwrap();
        assert_eq!(answer.head.header("content-type"), Some("text/plain; version=0.0.4"));
        let page = String::from_utf8(answer.body).unwrap();
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        let series = lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        });
        let series = series.collect();
        (page, series)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_have_their_kind() {
    let edge = OneServer::start().await;
    edge.one.on("/cut", Action::Cut);
    edge.one.on("/half", Action::CutBody);
    edge.one.on("/short", Action::Hang);
    edge.one.on("/status", Action::status(503));
    for _ in 0..2 {
        assert_eq!(edge.get("/cut").await.unwrap().status, 502);
    }
    assert!(edge.get("/half").await.is_err());
    assert_eq!(edge.get("/short").await.unwrap().status, 504);
    let blue = edge.ended("blue", 4).await;
    assert_eq!(blue.failures, Failures { answer: 3, timeout: 1, ..Failures::default() });
    assert_eq!(blue.counters.attempts_failed, 4);

    edge.switch("dead").await;
    for _ in 0..3 {
        assert_eq!(edge.get("/").await.unwrap().status, 502);
    }
    assert_eq!(edge.ended("dead", 3).await.failures, Failures { connect: 3, ..Failures::default() });
    edge.switch("down").await;
    assert_eq!(edge.get("/").await.unwrap().status, 502);
    assert_eq!(edge.ended("down", 1).await.failures, Failures { no_peer: 1, ..Failures::default() });
    edge.switch("two").await;
    let mut seen = 0;
    while edge.slot("two").await.failures.status == 0 && seen < 6 {
        edge.get("/status").await.unwrap();
        seen += 1;
    }
    assert!(
        edge.slot("two").await.failures.status >= 1,
        "a status that nginx retries is a failure of this kind"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn server_errors_by_status() {
    let edge = OneServer::start().await;
    for (status, times) in [(500, 3), (502, 1), (503, 2), (504, 1), (507, 2)] {
        edge.one.on("/", Action::status(status));
        for _ in 0..times {
            assert_eq!(edge.get("/").await.unwrap().status, status);
        }
    }
    let blue = edge.ended("blue", 9).await;
    let expected = ServerErrors { internal: 3, bad_gateway: 1, unavailable: 2, gateway_timeout: 1 };
    assert_eq!((blue.server_errors, blue.counters.responses.server_error), (expected, 9));
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_are_those_that_the_backend_saw() {
    let edge = OneServer::start().await;
    let mut client = Client::connect(edge.nginx.address("main").unwrap()).await.unwrap();
    let body = "b".repeat(300_000);
    for n in 0..20 {
        let answer = match n % 2 {
            0 => client.request("GET", "/", &[]).await,
            _ => client.request_with("POST", "/", &[], &body).await,
        };
        assert_eq!(answer.unwrap().status, 200);
    }
    edge.one.on("/cut", Action::Cut);
    edge.one.on("/half", Action::CutBody);
    assert_eq!(edge.get("/cut").await.unwrap().status, 502);
    assert!(edge.get("/half").await.is_err());
    let blue = edge.ended("blue", 22).await;
    let truth = edge.one.truth();
    assert_eq!((blue.bytes.sent, blue.bytes.received), (truth.bytes_received, truth.bytes_sent));
    assert!(blue.bytes.sent > 3_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn upgraded_connections_and_their_bytes() {
    let edge = OneServer::start().await;
    edge.one.on("/socket", Action::Upgrade);
    let mut sockets = Vec::new();
    for _ in 0..3 {
        let mut socket = Client::connect(edge.nginx.address("main").unwrap()).await.unwrap();
        let answer = socket.request("GET", "/socket", &[("connection", "upgrade"), ("upgrade", "echo")]);
        assert_eq!(answer.await.unwrap().status, 101);
        assert_eq!(socket.echo(&[b'x'; 5000]).await.unwrap().len(), 5000);
        sockets.push(socket);
    }
    assert_eq!((edge.slot("blue").await.upgraded, edge.slot("blue").await.counters.in_flight), (3, 3));
    edge.nginx.reload().await.unwrap();
    edge.switch("dead").await;
    assert_eq!(edge.slot("blue").await.upgraded, 3, "kept over a reload and a switch");
    sockets.pop();
    wait::until_async(wait::PATIENCE, "one of the connections to close", async || {
        edge.slot("blue").await.upgraded == 2
    })
    .await
    .unwrap();
    drop(sockets);
    let blue = edge.ended("blue", 3).await;
    assert_eq!((blue.upgraded, blue.counters.in_flight, blue.counters.responses.informational), (0, 0, 3));
    let truth = edge.one.truth();
    assert_eq!((blue.bytes.sent, blue.bytes.received), (truth.bytes_received, truth.bytes_sent));
    assert_eq!(
        (blue.first_byte.count, blue.whole.count),
        (3, 0),
        "the lifetime of an upgraded connection is not a latency"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn latencies_are_those_that_the_backend_made() {
    let edge = OneServer::start().await;
    edge.one.on("/slow", Action::status(200).after(Duration::from_millis(150)));
    for n in 0..20 {
        assert_eq!(edge.get(if n < 15 { "/" } else { "/slow" }).await.unwrap().status, 200);
    }
    let blue = edge.ended("blue", 20).await;
    assert_eq!((blue.first_byte.count, blue.whole.count), (20, 20));
    let (first, whole) = (blue.first_byte.quantiles.unwrap(), blue.whole.quantiles.unwrap());
    assert!(first.p50 < 130_000, "{first:?}");
    // The estimate has an error of up to 6 %, nginx's clock has ticks, and the machine may be slow.
    assert!((130_000..3_000_000).contains(&first.p90), "{first:?}");
    assert!(whole.p90 >= first.p90 && whole.p50 >= first.p50, "{whole:?}");
    let slow = 5 * (Duration::from_millis(150) - wait::NGINX_TICK);
    assert!(
        Duration::from_micros(blue.first_byte.sum_us) >= slow && blue.whole.sum_us >= blue.first_byte.sum_us
    );
    assert_eq!(
        blue.first_byte.buckets.iter().map(|(_, count)| count).sum::<u64>(),
        20,
        "the histogram contains all requests"
    );
    edge.nginx.reload().await.unwrap();
    assert_eq!(edge.slot("blue").await.first_byte, blue.first_byte, "kept over a reload");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latency_of_a_retried_request_is_that_of_the_attempt_that_answered() {
    let edge = OneServer::start().await;
    edge.switch("two").await;
    for _ in 0..10 {
        assert_eq!(edge.get("/").await.unwrap().status, 200);
    }
    let two = edge.ended("two", 10).await;
    assert!(two.failures.connect >= 4);
    assert_eq!(
        (two.first_byte.count, two.whole.count),
        (10, 10),
        "an attempt without an answer has no latency"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_metrics_agrees_with_the_api_and_is_lint_clean() {
    let edge = OneServer::start().await;
    for _ in 0..5 {
        edge.get("/").await.unwrap();
    }
    edge.one.on("/", Action::status(503));
    edge.get("/").await.unwrap();
    let on_trial = r#"{"active":"dead","lease_ms":600000}"#;
    edge.nginx.admin().change_json("shop", on_trial).await.unwrap();
    edge.get("/").await.unwrap();
    for _ in 0..3 {
        assert_eq!(edge.get("/preview").await.unwrap().status, 503);
    }
    let previews = async || edge.slot("two").await.previews.responses.total() == 3;
    wait::until_async(wait::PATIENCE, "the end of the previews", previews).await.unwrap();
    let (blue, dead) = (edge.ended("blue", 6).await, edge.ended("dead", 1).await);
    let (page, series) = edge.metrics().await;
    let of = |name: &str, slot: &str, more: &str| {
        let name = format!("cutover_{name}{{group=\"shop\",slot=\"{slot}\"{more}}}");
        *series.get(&name).unwrap_or_else(|| panic!("no {name} in\n{page}"))
    };
    assert_eq!(of("requests_total", "blue", ""), 6.0);
    assert_eq!(of("responses_total", "blue", ",class=\"5xx\""), 1.0);
    assert_eq!(of("server_errors_total", "blue", ",status=\"503\""), 1.0);
    assert_eq!(of("attempts_failed_total", "dead", ",reason=\"connect\""), dead.failures.connect as f64);
    assert_eq!(of("sent_bytes_total", "blue", ""), blue.bytes.sent as f64);
    assert_eq!(of("received_bytes_total", "blue", ""), blue.bytes.received as f64);
    assert_eq!(of("first_byte_seconds_count", "blue", ""), 6.0);
    assert_eq!(of("first_byte_seconds_bucket", "blue", ",le=\"+Inf\""), 6.0);
    assert!((of("first_byte_seconds_sum", "blue", "") - blue.first_byte.sum_us as f64 / 1e6).abs() < 1e-9);
    assert_eq!((of("slot_share_ratio", "blue", ""), of("slot_share_ratio", "dead", "")), (0.0, 1.0));
    assert_eq!(series["cutover_route_generation{group=\"shop\"}"], 1.0);
    assert_eq!(series["cutover_trial_armed{group=\"shop\"}"], 1.0);
    assert_eq!(series["cutover_trial_held{group=\"shop\"}"], 0.0);
    assert_eq!(of("preview_requests_total", "two", ""), 3.0);
    assert_eq!(of("preview_responses_total", "two", ",class=\"5xx\""), 3.0);
    assert_eq!(of("preview_requests_in_flight", "two", ""), 0.0);
    assert_eq!(of("preview_upgraded_connections", "two", ""), 0.0);
    for idle in [
        "requests_total{group=\"shop\",slot=\"two\"}",
        "preview_requests_total{group=\"shop\",slot=\"blue\"}",
    ] {
        assert!(
            !page.contains(&format!("cutover_{idle}")),
            "a slot without such requests has no counters of them"
        );
    }

    let mut lint = Command::new(flavour::tool("promtool").unwrap())
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    lint.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let lint = lint.wait_with_output().unwrap();
    let said = [lint.stdout, lint.stderr].concat();
    assert!(lint.status.success() && said.is_empty(), "promtool: {}", String::from_utf8_lossy(&said));
    assert_eq!(edge.get("/metrics").await.unwrap().status, 200);
    let mut client = Client::connect(edge.nginx.address("main").unwrap()).await.unwrap();
    assert_eq!(client.request("POST", "/metrics", &[]).await.unwrap().status, 405);
}
