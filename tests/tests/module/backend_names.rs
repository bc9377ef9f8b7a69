//! Groups with `backend`: `$cutover_upstream` replaces the backend's name by the slot's upstream, as for ingress-nginx.

use std::collections::BTreeSet;

use cutover_core::api::Slot;
use cutover_core::counters::{Counters, Previews};
use cutover_tests::{Action, Backend, Client, Nginx, client, wait};

/// Locations like those that ingress-nginx generates: a `set`, a snippet with `$cutover_upstream`, a `proxy_pass` with a
/// variable.
const HTTP: &str = "
    cutover_state %%prefix%%/state;
    upstream shop-shop-http       { server %%blue%%; keepalive 4; }
    upstream shop-shop-blue-http  { server %%blue%%; keepalive 4; }
    upstream shop-shop-green-http { server %%green%%; keepalive 4; }
    upstream blog-blog-http       { server %%other%%; keepalive 4; }
    cutover shop {
        backend shop-shop-http;
        slot blue shop-shop-blue-http;
        slot green shop-shop-green-http;
        active blue;
        split_key $arg_key;
    }
    limit_req_zone $uri zone=all:1m rate=1r/m;
    proxy_http_version 1.1;
    proxy_set_header Connection '';
    server {
        listen %%listen:main%%;
        set $proxy_upstream_name '';
        location /shop {
            set $proxy_upstream_name shop-shop-http;
            set $proxy_upstream_name $cutover_upstream;
            add_header X-Backend $proxy_upstream_name;
            proxy_pass http://$proxy_upstream_name;
        }
        location /chat {
            set $proxy_upstream_name shop-shop-http;
            set $proxy_upstream_name $cutover_upstream;
            proxy_set_header Connection upgrade;
            proxy_set_header Upgrade $http_upgrade;
            proxy_pass http://$proxy_upstream_name;
        }
        location /limited {
            limit_req zone=all;
            set $proxy_upstream_name shop-shop-http;
            set $proxy_upstream_name $cutover_upstream;
            proxy_pass http://$proxy_upstream_name;
        }
        location /blog {
            set $proxy_upstream_name blog-blog-http;
            set $proxy_upstream_name $cutover_upstream;
            proxy_pass http://$proxy_upstream_name;
        }
        location /preview {
            cutover_slot standby;
            set $proxy_upstream_name shop-shop-http;
            set $proxy_upstream_name $cutover_upstream;
            proxy_pass http://$proxy_upstream_name;
        }
        location /intercepted {
            set $proxy_upstream_name shop-shop-http;
            set $proxy_upstream_name $cutover_upstream;
            proxy_intercept_errors on;
            error_page 502 503 @errors;
            proxy_pass http://$proxy_upstream_name;
        }
        location @errors { proxy_pass http://blog-blog-http; }
        location /renamed {
            limit_req zone=all;
            set $proxy_upstream_name shop-shop-http;
            set $proxy_upstream_name $cutover_upstream;
            error_page 502 503 = /error-page;
            proxy_pass http://$proxy_upstream_name;
        }
        location = /error-page { proxy_pass http://blog-blog-http; }
        location /accel {
            set $proxy_upstream_name shop-shop-http;
            set $proxy_upstream_name $cutover_upstream;
            proxy_pass http://$proxy_upstream_name;
        }
        location /page {
            ssi on;
            ssi_types *;
            set $proxy_upstream_name shop-shop-http;
            set $proxy_upstream_name $cutover_upstream;
            proxy_pass http://$proxy_upstream_name;
        }
        location = /echoes.html { ssi on; cutover_slot green; root %%prefix%%; }
        location /none {
            set $proxy_upstream_name $cutover_upstream;
            return 200 \"<$proxy_upstream_name>\";
        }
    }
    server { listen %%admin%%; location / { cutover_api write=on; } }
";

const HALF_AND_HALF: &str = r#"{"split":{"blue":50,"green":50}}"#;

async fn start() -> (Nginx, [Backend; 3]) {
    let backends = [
        Backend::start("blue").await.unwrap(),
        Backend::start("green").await.unwrap(),
        Backend::start("other").await.unwrap(),
    ];
    let nginx = Nginx::builder()
        .set("blue", backends[0].address())
        .set("green", backends[1].address())
        .set("other", backends[2].address())
        .http(HTTP)
        .start()
        .await
        .unwrap();
    (nginx, backends)
}

async fn slot(client: &mut Client, target: &str) -> String {
    let answer = client.request("GET", target, &[]).await.unwrap();
    answer.head.header("x-slot").unwrap().to_owned()
}

/// One that is open is told apart from a request that hangs: the verdict over a version takes it for a success.
#[tokio::test(flavor = "multi_thread")]
async fn an_upgraded_connection_is_counted_while_it_is_open() {
    let (nginx, backends) = start().await;
    backends[0].on("/chat", Action::Upgrade);
    let open = async || {
        let blue = nginx.admin().group("shop").await.unwrap().slot("blue").unwrap().clone();
        (blue.upgraded, blue.counters.in_flight, blue.counters.responses.informational)
    };
    let mut clients = Vec::new();
    for number in 1..=3 {
        let mut client = Client::connect(nginx.address("main").unwrap()).await.unwrap();
        let headers = [("connection", "upgrade"), ("upgrade", "echo")];
        assert_eq!(client.request("GET", "/chat", &headers).await.unwrap().status, 101);
        assert_eq!(open().await, (number, number, 0));
        clients.push(client);
    }
    nginx.admin().switch("shop", "green").await.unwrap();
    nginx.reload().await.unwrap();
    assert_eq!(clients[0].echo(b"still here").await.unwrap(), b"still here");
    assert_eq!(open().await, (3, 3, 0));
    drop(clients);
    wait::until_async(wait::PATIENCE, "all to be closed", async || open().await == (0, 0, 3)).await.unwrap();
}

#[tokio::test]
async fn the_backend_name_of_a_group_becomes_the_upstream_of_its_slot() {
    let (nginx, _backends) = start().await;
    let mut client = Client::connect(nginx.address("main").unwrap()).await.unwrap();
    assert_eq!(slot(&mut client, "/shop").await, "blue");
    let answer = client.request("GET", "/shop", &[]).await.unwrap();
    assert_eq!(answer.head.header("x-backend"), Some("shop-shop-blue-http"));
    nginx.admin().switch("shop", "green").await.unwrap();
    for _ in 0..20 {
        assert_eq!(slot(&mut client, "/shop").await, "green", "a kept connection");
    }
    assert_eq!(slot(&mut client, "/preview").await, "blue", "a preview of the standby");
}

#[tokio::test]
async fn other_backend_names_are_unchanged() {
    let (nginx, _backends) = start().await;
    nginx.admin().switch("shop", "green").await.unwrap();
    let mut client = Client::connect(nginx.address("main").unwrap()).await.unwrap();
    assert_eq!(slot(&mut client, "/blog").await, "other");
    let none = client.request("GET", "/none", &[]).await.unwrap();
    assert_eq!(none.body, b"<>", "an empty name stays empty");
}

/// nginx evaluates a variable once for the length of its value and once for the value. Both evaluations must choose the same
/// slot: names of different lengths would overflow the buffer.
#[tokio::test]
async fn both_evaluations_of_the_variable_choose_the_same_slot() {
    let (nginx, _backends) = start().await;
    nginx.admin().change_json("shop", HALF_AND_HALF).await.unwrap();
    let mut client = Client::connect(nginx.address("main").unwrap()).await.unwrap();
    for _ in 0..300 {
        let answer = client.request("GET", "/shop", &[]).await.unwrap();
        let slot = answer.head.header("x-slot").unwrap();
        assert_eq!(answer.head.header("x-backend"), Some(format!("shop-shop-{slot}-http").as_str()));
    }
}

#[tokio::test]
async fn a_split_holds_for_backend_names_too() {
    let (nginx, _backends) = start().await;
    nginx.admin().change_json("shop", HALF_AND_HALF).await.unwrap();
    let mut client = Client::connect(nginx.address("main").unwrap()).await.unwrap();
    let mut seen = BTreeSet::new();
    for key in 0..40 {
        let target = format!("/shop?key={key}");
        let first = slot(&mut client, &target).await;
        assert_eq!(slot(&mut client, &target).await, first, "a key stays");
        seen.insert(first);
    }
    assert_eq!(seen.len(), 2);
}

async fn counted(nginx: &Nginx, slot: &str, requests: u64) -> Slot {
    let what = format!("{requests} requests of {slot} to be counted");
    wait::until_async(wait::PATIENCE, &what, async || {
        nginx.admin().group("shop").await.unwrap().slot(slot).unwrap().counters.responses.total() == requests
    })
    .await
    .unwrap();
    nginx.admin().group("shop").await.unwrap().slot(slot).unwrap().clone()
}

async fn guard_goes_back(nginx: &Nginx) {
    wait::until_async(wait::PATIENCE, "the guard to go back", async || {
        nginx.admin().group("shop").await.unwrap().route.active == "blue"
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn requests_are_counted_when_they_end() {
    let (nginx, backends) = start().await;
    let mut client = Client::connect(nginx.address("main").unwrap()).await.unwrap();
    for _ in 0..5 {
        slot(&mut client, "/shop").await;
    }
    backends[0].on("/", Action::status(503));
    slot(&mut client, "/shop").await;
    backends[0].on("/", Action::Cut);
    // nginx finds its kept connection closed, and tries a fresh one.
    assert_eq!(client.request("GET", "/shop", &[]).await.unwrap().status, 502);
    let blue = counted(&nginx, "blue", 7).await;
    assert_eq!((blue.counters.requests, blue.counters.in_flight), (7, 0));
    assert_eq!(blue.counters.attempts, backends[0].truth().requests);
    assert_eq!((blue.counters.responses.success, blue.counters.responses.server_error), (5, 2));
    assert_eq!((blue.failures.answer, blue.server_errors.unavailable, blue.first_byte.count), (2, 1, 6));
    let truth = backends[0].truth();
    assert_eq!((blue.bytes.sent, blue.bytes.received), (truth.bytes_received, truth.bytes_sent));
    assert_eq!(nginx.admin().group("shop").await.unwrap().slot("green").unwrap().counters.requests, 0);
}

#[tokio::test]
async fn previews_are_counted_apart() {
    let (nginx, backends) = start().await;
    let mut client = Client::connect(nginx.address("main").unwrap()).await.unwrap();
    backends[1].on("/preview/broken", Action::status(500));
    for _ in 0..3 {
        assert_eq!(slot(&mut client, "/preview").await, "green");
        assert_eq!(slot(&mut client, "/preview/broken").await, "green");
        assert_eq!(slot(&mut client, "/shop").await, "blue");
    }
    let blue = counted(&nginx, "blue", 3).await;
    let green = nginx.admin().group("shop").await.unwrap().slot("green").unwrap().clone();
    assert_eq!((green.previews.requests, green.previews.in_flight), (6, 0));
    assert_eq!((green.previews.responses.success, green.previews.responses.server_error), (3, 3));
    assert_eq!((green.counters, green.first_byte.count), (Counters::default(), 0));
    assert_eq!((blue.counters.requests, blue.previews), (3, Previews::default()));
}

#[tokio::test]
async fn the_guard_works_for_backend_names_and_rescue_is_refused() {
    let (nginx, backends) = start().await;
    let rescue = serde_json::from_str(r#"{"active":"green","rescue":true}"#).unwrap();
    let refused = nginx.admin().try_change("shop", &rescue, None).await.unwrap();
    assert!(refused.status == 422 && refused.body.contains("backend names"), "{}", refused.body);
    backends[1].on("/", Action::status(500));
    let guarded = r#"{"active":"green","guard":{"min_requests":5,"max_error_ratio":0.1,"window_ms":60000}}"#;
    nginx.admin().change_json("shop", guarded).await.unwrap();
    let mut client = Client::connect(nginx.address("main").unwrap()).await.unwrap();
    for _ in 0..5 {
        assert_eq!(slot(&mut client, "/shop").await, "green");
    }
    guard_goes_back(&nginx).await;
}

#[tokio::test]
async fn without_a_backend_group_every_name_is_unchanged() {
    let http = "
        cutover_state %%prefix%%/state;
        server {
            listen %%listen:main%%;
            location / {
                set $proxy_upstream_name shop-shop-http;
                set $proxy_upstream_name $cutover_upstream;
                return 200 \"<$proxy_upstream_name>\";
            }
        }
    ";
    let nginx = Nginx::builder().http(http).start().await.unwrap();
    let mut client = Client::connect(nginx.address("main").unwrap()).await.unwrap();
    assert_eq!(client.request("GET", "/", &[]).await.unwrap().body, b"<shop-shop-http>");
}

#[test]
fn a_backend_group_without_the_variable_is_refused() {
    let http = "
        cutover_state %%prefix%%/state;
        cutover shop { backend x; slot blue a; slot green b; active blue; }
    ";
    let nginx = Nginx::builder().http(http).build().unwrap();
    nginx.expect_in_log("unknown \"proxy_upstream_name\" variable");
    let answer = nginx.check().unwrap();
    assert!(
        !answer.ok && answer.output.contains("unknown \"proxy_upstream_name\" variable"),
        "{}",
        answer.output
    );
}

/// `limit_req` answers 503 before nginx chooses a peer, so the slot has not failed.
#[tokio::test]
async fn a_request_that_limit_req_refuses_is_no_failure_of_the_slot() {
    let (nginx, _backends) = start().await;
    let guarded = r#"{"active":"green","guard":{"min_requests":5,"max_error_ratio":0.5,"window_ms":60000}}"#;
    nginx.admin().change_json("shop", guarded).await.unwrap();
    let mut statuses = Vec::new();
    for _ in 0..10 {
        statuses.push(client::get(nginx.address("main").unwrap(), "/limited").await.unwrap().status);
    }
    assert_eq!(statuses.iter().filter(|status| **status == 503).count(), 9, "{statuses:?}");
    let settled = async || {
        let green = nginx.admin().group("shop").await.unwrap().slot("green").unwrap().clone();
        (green.counters.in_flight, green.counters.requests) == (0, 1)
    };
    wait::until_async(wait::PATIENCE, "all ten requests to end", settled).await.unwrap();
    let group = nginx.admin().group("shop").await.unwrap();
    assert_eq!((group.route.active.as_str(), group.slot("green").unwrap().failures.no_peer), ("green", 0));
}

/// As with `custom-http-errors` of ingress-nginx: the attempts for the error page do not count for the slot.
#[tokio::test]
async fn attempts_after_an_internal_redirect_do_not_count_for_the_slot() {
    let (nginx, mut backends) = start().await;
    backends[1].stop().await;
    backends[2].on("/", Action::status(404));
    let guarded =
        r#"{"active":"green","guard":{"min_requests":100,"max_error_ratio":0.5,"window_ms":60000}}"#;
    nginx.admin().change_json("shop", guarded).await.unwrap();
    let address = nginx.address("main").unwrap();
    for _ in 0..40 {
        assert_eq!(client::get(address, "/intercepted").await.unwrap().slot(), "other");
    }
    let green = counted(&nginx, "green", 40).await;
    assert_eq!((green.counters.responses.server_error, green.server_errors.bad_gateway), (40, 40));
    assert_eq!((green.counters.attempts, green.counters.attempts_failed), (40, 40));
    assert_eq!((green.failures.connect, green.first_byte.count, green.counters.in_flight), (40, 0, 0));
    let trial = nginx.admin().group("shop").await.unwrap().route.trial.unwrap();
    assert_eq!((trial.figures.requests, trial.figures.errors), (40, 40));

    let guarded = r#"{"active":"green","guard":{"min_requests":5,"max_error_ratio":0.5,"window_ms":60000}}"#;
    nginx.admin().switch("shop", "blue").await.unwrap();
    nginx.admin().change_json("shop", guarded).await.unwrap();
    for _ in 0..5 {
        client::get(address, "/intercepted").await.unwrap();
    }
    guard_goes_back(&nginx).await;
}

/// A request that is redirected before an attempt does not count for the slot.
#[tokio::test]
async fn a_request_that_is_redirected_before_an_attempt_does_not_count_for_the_slot() {
    let (nginx, backends) = start().await;
    let address = nginx.address("main").unwrap();
    let mut slots = Vec::new();
    for _ in 0..4 {
        slots.push(client::get(address, "/renamed").await.unwrap().slot().to_owned());
    }
    assert_eq!(slots, ["blue", "other", "other", "other"]);
    let blue = counted(&nginx, "blue", 1).await;
    assert_eq!((blue.counters.requests, blue.counters.attempts, blue.counters.in_flight), (1, 1, 0));
    assert_eq!(backends[2].truth().requests, 3);
}

/// All parts of a request go to the same slot, and each is counted.
#[tokio::test]
async fn the_parts_of_a_request_have_one_slot() {
    let (nginx, backends) = start().await;
    for backend in &backends {
        let page = r#"<!--# include virtual="/shop/a" wait="yes" --><!--# include virtual="/shop/b" -->"#;
        backend.on("/page", Action::status(200).body(page));
        backend.on("/accel", Action::status(200).header("x-accel-redirect", "/shop/kept"));
    }
    nginx.admin().change_json("shop", HALF_AND_HALF).await.unwrap();
    let address = nginx.address("main").unwrap();
    for _ in 0..20 {
        for target in ["/page", "/accel"] {
            let before = [backends[0].truth().requests, backends[1].truth().requests];
            client::get(address, target).await.unwrap();
            let requests = [0, 1].map(|at| backends[at].truth().requests - before[at]);
            assert!(requests.contains(&0), "{target}: {requests:?}");
        }
    }
    let all = async || {
        let group = nginx.admin().group("shop").await.unwrap();
        let sum = |count: fn(&Slot) -> u64| group.slots.iter().map(count).sum::<u64>();
        (sum(|slot| slot.counters.requests), sum(|slot| slot.counters.in_flight)) == (100, 0)
    };
    wait::until_async(wait::PATIENCE, "a hundred parts", all).await.unwrap();
}

/// Naming the slot many times in one request counts one request in flight.
#[tokio::test]
async fn naming_a_slot_often_counts_one_request_in_flight() {
    let (nginx, backends) = start().await;
    let page = r#"<!--# echo var="cutover_slot_of_shop" -->"#.repeat(300)
        + r#"<!--# include virtual="/blog" wait="yes" -->"#;
    std::fs::write(nginx.prefix().join("echoes.html"), page).unwrap();
    backends[2].on("/blog", Action::status(200).body("").after(std::time::Duration::from_secs(1)));
    let mut client = Client::connect(nginx.address("main").unwrap()).await.unwrap();
    client.send("GET", "/echoes.html", &[]).await.unwrap();
    wait::until("/blog", || backends[2].truth().requests == 1).await.unwrap();
    let in_flight = async || {
        let group = nginx.admin().group("shop").await.unwrap();
        group.slots.iter().map(|slot| slot.previews.in_flight).collect::<Vec<_>>()
    };
    assert_eq!(in_flight().await, [0, 1]);
    assert_eq!(client.answer().await.unwrap().body, "green".repeat(300).as_bytes());
    wait::until_async(wait::PATIENCE, "no request in flight", async || in_flight().await == [0, 0])
        .await
        .unwrap();
}
