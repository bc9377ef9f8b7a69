//! A weighted split: the shares, the split key, and previews during a split.

use std::collections::{BTreeMap, BTreeSet};

use cutover_core::api::Group;
use cutover_tests::{Backend, Client, Nginx};

const HTTP: &str = "
    cutover_state %%prefix%%/state;
    upstream blue  { server %%blue%%; keepalive 8; }
    upstream green { server %%green%%; keepalive 8; }
    cutover keyed { slot blue blue; slot green green; active blue; split_key $arg_key; }
    cutover plain { slot blue blue; slot green green; active blue; }
    proxy_http_version 1.1;
    proxy_set_header Connection '';
    server {
        listen %%listen:main%%;
        location /keyed { proxy_pass http://keyed; }
        location /plain { proxy_pass http://plain; }
        location /standby { cutover_slot standby; proxy_pass http://plain; }
        location /named { cutover_slot $arg_slot; proxy_pass http://plain; }
    }
    server { listen %%admin%%; location / { cutover_api write=on; } }
";

struct KeyedAndPlain {
    #[expect(dead_code, reason = "lives as long as nginx")]
    backends: [Backend; 2],
    nginx: Nginx,
    client: Client,
}

impl KeyedAndPlain {
    async fn start() -> Self {
        let backends = [Backend::start("blue").await.unwrap(), Backend::start("green").await.unwrap()];
        let nginx = Nginx::builder()
            .set("blue", backends[0].address())
            .set("green", backends[1].address())
            .http(HTTP)
            .start()
            .await
            .unwrap();
        let client = Client::connect(nginx.address("main").unwrap()).await.unwrap();
        Self { backends, nginx, client }
    }

    async fn split(&self, group: &str, green: f64) -> Group {
        let json = format!(r#"{{"split":{{"blue":{},"green":{green}}}}}"#, 100.0 - green);
        self.nginx.admin().change_json(group, &json).await.unwrap()
    }

    async fn slot(&mut self, target: &str) -> String {
        match self.client.request("GET", target, &[]).await {
            Ok(answer) => answer.head.header("x-slot").unwrap().to_owned(),
            // nginx closes a keep-alive connection after a thousand requests.
            Err(_) => {
                self.client = Client::connect(self.nginx.address("main").unwrap()).await.unwrap();
                let answer = self.client.request("GET", target, &[]).await.unwrap();
                answer.head.header("x-slot").unwrap().to_owned()
            }
        }
    }

    async fn on_green(&mut self, keys: u32) -> BTreeSet<u32> {
        let mut green = BTreeSet::new();
        for key in 0..keys {
            if self.slot(&format!("/keyed?key=session-{key}")).await == "green" {
                green.insert(key);
            }
        }
        green
    }
}

/// Whether `seen` is within three standard deviations of 20 % of `total`.
fn is_a_fifth(seen: usize, total: u32) -> bool {
    let (expected, sigma) = (f64::from(total) * 0.2, (f64::from(total) * 0.2 * 0.8).sqrt());
    (seen as f64 - expected).abs() <= 3.0 * sigma
}

#[tokio::test]
async fn a_share_of_the_requests_goes_to_the_second_slot() {
    let mut edge = KeyedAndPlain::start().await;
    let group = edge.split("plain", 20.0).await;
    let shares: BTreeMap<_, _> =
        group.route.split.unwrap().into_iter().map(|(s, p)| (s, p.parts())).collect();
    assert_eq!(shares, BTreeMap::from([("blue".to_owned(), 8_000), ("green".to_owned(), 2_000)]));
    let mut green = 0;
    for _ in 0..3000 {
        green += usize::from(edge.slot("/plain").await == "green");
    }
    assert!(is_a_fifth(green, 3000), "{green} of 3000");
}

#[tokio::test]
async fn keys_stay_and_move_one_way_as_the_share_grows() {
    let mut edge = KeyedAndPlain::start().await;
    edge.split("keyed", 20.0).await;
    let first = edge.on_green(1500).await;
    assert!(is_a_fifth(first.len(), 1500), "{} of 1500", first.len());
    edge.nginx.reload().await.unwrap();
    assert_eq!(edge.on_green(1500).await, first, "the same keys, by any worker, after a reload");
    edge.split("keyed", 60.0).await;
    let second = edge.on_green(1500).await;
    assert!(first.is_subset(&second) && second.len() > first.len(), "{} and {}", first.len(), second.len());
    edge.split("keyed", 20.0).await;
    assert_eq!(edge.on_green(1500).await, first, "the keys that moved last move back first");
}

#[tokio::test]
async fn requests_without_a_key_are_drawn_one_by_one() {
    let mut edge = KeyedAndPlain::start().await;
    edge.split("keyed", 50.0).await;
    let mut slots = BTreeSet::new();
    for _ in 0..40 {
        slots.insert(edge.slot("/keyed").await);
    }
    assert_eq!(slots.len(), 2);
}

#[tokio::test]
async fn a_split_ends_with_a_switch_and_survives_a_restart() {
    let mut edge = KeyedAndPlain::start().await;
    edge.split("plain", 99.99).await;
    edge.nginx.kill_all().await.unwrap();
    edge.nginx.start().await.unwrap();
    let group = edge.nginx.admin().group("plain").await.unwrap();
    assert_eq!((group.route.active.as_str(), group.route.split.unwrap()["green"].parts()), ("blue", 9_999));
    assert_eq!(edge.slot("/plain").await, "green");
    let group = edge.nginx.admin().switch("plain", "green").await.unwrap();
    assert_eq!((group.route.active.as_str(), group.route.split, group.route.generation), ("green", None, 2));
    assert_eq!(edge.slot("/plain").await, "green");
    let all = edge.nginx.admin().change_json("plain", r#"{"split":{"blue":100}}"#).await.unwrap();
    assert_eq!(all.route.active, "blue");
}

#[tokio::test]
async fn previews_during_a_split() {
    let mut edge = KeyedAndPlain::start().await;
    edge.split("plain", 0.01).await;
    for _ in 0..5 {
        assert_eq!(edge.slot("/standby").await, "green", "the slot that has the share");
        assert_eq!(edge.slot("/named?slot=green").await, "green");
        assert_eq!(edge.slot("/named?slot=blue").await, "blue");
    }
    edge.split("plain", 99.99).await;
    assert_eq!(edge.slot("/named?slot=nothing").await, "green", "with an unknown name the route decides");
    assert!(edge.nginx.error_log().contains("has no slot \"nothing\"; the route decides"));
}

#[tokio::test]
async fn a_reload_cannot_drop_a_slot_that_has_a_share() {
    let edge = KeyedAndPlain::start().await;
    edge.split("plain", 5.0).await;
    let without =
        HTTP.replace("cutover plain { slot blue blue; slot green green;", "cutover plain { slot blue blue;");
    edge.nginx.write_http(&without).unwrap();
    edge.nginx.expect_in_log("has no slot \"green\", which is active now");
    let refused = edge.nginx.reload().await.unwrap_err();
    assert!(refused.to_string().contains("keep the slot, or switch"), "{refused}");
}
