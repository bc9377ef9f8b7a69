//! Groups of backend names: `$cutover_upstream` gives the slot's name in place of the backend's, as ingress-nginx is entered.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use cutover_tests::{Backend, Client, Nginx};

/// As the locations that ingress-nginx generates: a `set`, then the snippet with ours, then a proxy_pass by the variable.
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
        location /none {
            set $proxy_upstream_name $cutover_upstream;
            return 200 \"<$proxy_upstream_name>\";
        }
    }
    server { listen %%admin%%; location / { cutover_api write=on; } }
";

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

#[tokio::test]
async fn the_backend_of_a_group_becomes_that_of_its_slot() {
    let (nginx, _backends) = start().await;
    let mut client = Client::connect(nginx.address("main").unwrap()).await.unwrap();
    assert_eq!(slot(&mut client, "/shop").await, "blue");
    let answer = client.request("GET", "/shop", &[]).await.unwrap();
    assert_eq!(answer.head.header("x-backend"), Some("shop-shop-blue-http"));
    nginx.admin().switch("shop", "green").await.unwrap();
    for _ in 0..20 {
        assert_eq!(slot(&mut client, "/shop").await, "green", "a kept connection");
    }
    assert_eq!(slot(&mut client, "/preview").await, "blue", "the standby door");
}

#[tokio::test]
async fn other_backends_come_back_as_they_are() {
    let (nginx, _backends) = start().await;
    nginx.admin().switch("shop", "green").await.unwrap();
    let mut client = Client::connect(nginx.address("main").unwrap()).await.unwrap();
    assert_eq!(slot(&mut client, "/blog").await, "other");
    let none = client.request("GET", "/none", &[]).await.unwrap();
    assert_eq!(none.body, b"<>", "an empty name stays empty");
}

#[tokio::test]
async fn a_split_holds_for_backend_names_too() {
    let (nginx, _backends) = start().await;
    let change = serde_json::from_str(r#"{"split":{"blue":50,"green":50}}"#).unwrap();
    nginx.admin().change("shop", &change).await.unwrap();
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

#[test]
fn without_the_variable_such_a_group_is_refused() {
    let http = "
        cutover_state %%prefix%%/state;
        cutover shop { backend x; slot blue a; slot green b; active blue; }
    ";
    let nginx = Nginx::builder().http(http).build().unwrap();
    nginx.expect_in_log("unknown \"proxy_upstream_name\" variable");
    let answer = nginx.check().unwrap();
    assert!(!answer.ok && answer.output.contains("unknown \"proxy_upstream_name\" variable"), "{}", answer.output);
}
