//! Promises 1 and 2: after the switch call returns no request goes to the old slot, and no switch loses a request; also
//! while nginx reloads, and while its program is replaced.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use cutover_tests::load::{Load, Plan, Report};
use cutover_tests::nginx::Nginx;
use cutover_tests::{Action, Backend, Client, Expected, wait};

const HTTP: &str = "
    cutover_state %%prefix%%/state;
    upstream shop_blue { server %%blue%%; keepalive 32; }
    upstream shop_green { server %%green%%; keepalive 32; }
    cutover shop { slot blue shop_blue; slot green shop_green; active blue; }
    server {
        listen %%listen:main%%;
        location / {
            proxy_pass http://shop;
            proxy_http_version 1.1;
            proxy_set_header Connection '';
            add_header x-cutover-slot $cutover_slot always;
        }
    }
    server { listen %%admin%%; location / { cutover_api write=on; } }
";

struct Edge {
    blue: Backend,
    green: Backend,
    nginx: Nginx,
    expected: Arc<Expected>,
}

impl Edge {
    async fn start() -> Self {
        let blue = Backend::start("blue").await.unwrap();
        let green = Backend::start("green").await.unwrap();
        let builder = Nginx::builder().set("blue", blue.address()).set("green", green.address());
        let nginx = builder.http(HTTP).start().await.unwrap();
        Self { blue, green, nginx, expected: Expected::new("blue") }
    }

    fn load(&self) -> Load {
        Load::start(Plan::new(self.nginx.address("main").unwrap()), &self.expected)
    }

    async fn switch(&self) {
        let to = if self.expected.settled() == "blue" { "green" } else { "blue" };
        let call = self.expected.announce(to);
        let group = self.nginx.admin().switch("shop", to).await.unwrap();
        call.acknowledge();
        assert_eq!(group.route.active, to);
    }

    /// Switches to and fro, with some answers between, until `done`.
    async fn switch_until(&self, load: &Load, mut done: impl FnMut() -> bool) -> u32 {
        let mut switches = 0;
        while !done() {
            self.switch().await;
            switches += 1;
            load.answers(20).await.unwrap();
        }
        switches
    }

    fn assert_exact(&self, what: &str, switches: u32, report: &Report) {
        println!("{what} on {}: {switches} switches, {report}", self.nginx.flavour());
        assert_eq!((report.failed(), report.stale), (0, 0), "{report}");
        assert!(switches >= 20, "only {switches} switches");
        assert_eq!(self.blue.truth().requests + self.green.truth().requests, report.total, "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn switches_are_exact() {
    let edge = Edge::start().await;
    let load = edge.load();
    let end = Instant::now() + Duration::from_secs(5);
    let switches = edge.switch_until(&load, || Instant::now() > end).await;
    let report = load.stop().await;
    edge.assert_exact("switching", switches, &report);
    assert_eq!(report.reconnects, 0, "a switch closes no connection: {report}");
    let group = edge.nginx.admin().group("shop").await.unwrap();
    assert_eq!(group.route.generation, switches);
}

#[tokio::test(flavor = "multi_thread")]
async fn switches_are_exact_while_nginx_reloads() {
    let edge = Edge::start().await;
    let load = edge.load();
    let reloads = async {
        for _ in 0..6 {
            edge.nginx.reload().await.unwrap();
            load.answers(200).await.unwrap();
        }
    };
    let switches = alongside(&edge, &load, reloads).await;
    let report = load.stop().await;
    edge.assert_exact("switching and reloading", switches, &report);
}

#[tokio::test(flavor = "multi_thread")]
async fn switches_are_exact_while_the_program_is_replaced() {
    let edge = Edge::start().await;
    let load = edge.load();
    let upgrades = async {
        for _ in 0..3 {
            // Between the halves two masters and four workers run, and each must know each switch.
            let old = edge.nginx.begin_upgrade().await.unwrap();
            load.answers(500).await.unwrap();
            edge.nginx.retire(old).await.unwrap();
            load.answers(200).await.unwrap();
        }
    };
    let switches = alongside(&edge, &load, upgrades).await;
    let report = load.stop().await;
    edge.assert_exact("switching and upgrading", switches, &report);
}

/// The same at length, for the figures.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute"]
async fn switches_are_exact_for_a_minute() {
    let edge = Edge::start().await;
    let load = edge.load();
    let end = Instant::now() + Duration::from_secs(60);
    let changes = async {
        while Instant::now() < end {
            edge.nginx.reload().await.unwrap();
            load.answers(4000).await.unwrap();
            edge.nginx.upgrade().await.unwrap();
            load.answers(4000).await.unwrap();
        }
    };
    let switches = alongside(&edge, &load, changes).await;
    let report = load.stop().await;
    edge.assert_exact("switching, reloading and upgrading", switches, &report);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_under_way_end_where_they_began() {
    let edge = Edge::start().await;
    edge.blue.on("/slow", Action::status(200).after(Duration::from_millis(300)));
    let address = edge.nginx.address("main").unwrap();
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let mut client = Client::connect(address).await.unwrap();
        client.send("GET", "/slow", &[]).await.unwrap();
        waiting.push(client);
    }
    wait::until("the requests to arrive", || edge.blue.truth().in_flight == 20).await.unwrap();
    edge.switch().await;
    assert_eq!(edge.blue.truth().in_flight, 20, "the call returned while they were under way");
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
    let edge = Edge::start().await;
    for _ in 0..3 {
        edge.switch().await;
        edge.nginx.kill_all().await.unwrap();
        edge.nginx.start().await.unwrap();
        let load = edge.load();
        load.answers(200).await.unwrap();
        let report = load.stop().await;
        assert_eq!((report.failed(), report.stale), (0, 0), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_in_place_of_a_killed_one_knows_the_route() {
    let edge = Edge::start().await;
    for _ in 0..3 {
        edge.nginx.kill_worker().await.unwrap();
        edge.switch().await;
        let load = edge.load();
        load.answers(300).await.unwrap();
        let report = load.stop().await;
        assert_eq!((report.failed(), report.stale), (0, 0), "{report}");
    }
}

/// Runs `work` and switches to and fro until it has ended.
async fn alongside(edge: &Edge, load: &Load, work: impl Future<Output = ()>) -> u32 {
    let ended = std::cell::Cell::new(false);
    let work = async {
        work.await;
        ended.set(true);
    };
    tokio::join!(work, edge.switch_until(load, || ended.get())).1
}
