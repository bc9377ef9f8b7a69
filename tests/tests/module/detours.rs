//! Rare paths through nginx: with a group they must give the same result as without one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cutover_tests::{Action, Backend, Nginx, TestEdge, client, wait};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const HTTP: &str = "
    cutover_state %%prefix%%/state;
    proxy_cache_path %%prefix%%/cache keys_zone=answers:1m inactive=10m;
    upstream b { server %%blue%% max_fails=0; }
    upstream g { server %%green%% max_fails=0; keepalive 8; }
    upstream p { server %%green%% max_fails=0; server %%second%% max_fails=0; server %%blue%% max_fails=0; keepalive 8; }
    upstream h { hash $cutover_slot$uri consistent; server %%blue%% max_fails=0; server %%green%% max_fails=0; }
    upstream s { server %%split%% max_fails=0; }
    cutover shop { slot blue b; slot green g; slot split s; slot pair p; active blue; }
    cutover hashed { slot one h; active one; }
    map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
    log_format slot '$uri:$cutover_slot:$cutover_generation';
    proxy_http_version 1.1;
    proxy_set_header Connection $connection_upgrade;
    proxy_set_header Upgrade $http_upgrade;
    server {
        listen %%listen:main%%;
        access_log %%prefix%%/slots.log slot;
        location / { proxy_pass http://shop; }
        location /hashed { proxy_pass http://hashed; }
        location /status { proxy_next_upstream error timeout http_503; proxy_pass http://shop; }
        location /status-once {
            proxy_next_upstream error timeout http_503;
            proxy_next_upstream_tries 1;
            proxy_set_header Connection '';
            proxy_pass http://shop;
        }
        location /once { proxy_next_upstream_tries 1; proxy_set_header Connection ''; proxy_pass http://shop; }
        location /variable { set $b shop; proxy_set_header X-Request-Id '<$cutover_slot>'; proxy_pass http://$b; }
        location /loud { set $b SHOP; proxy_set_header X-Request-Id '<$cutover_slot>'; proxy_pass http://$b; }
        location /uri { proxy_set_header X-Request-Id '<$cutover_slot>'; proxy_pass http://shop$request_uri; }
        location /fixed { proxy_set_header X-Request-Id '<$cutover_slot>'; proxy_pass http://shop; }
        location /excused { proxy_intercept_errors on; error_page 502 504 =200 @excuse; proxy_pass http://shop; }
        location @excuse { return 200 sorry; }
        location /plain { proxy_cache answers; proxy_cache_valid 200 1h; proxy_pass http://b; }
        location /cached { proxy_cache answers; proxy_cache_valid 200 1h; proxy_pass http://shop; }
    }
    server { listen %%admin%%; location / { cutover_api write=on; } }
";

/// Starts nginx and the backends; also returns the server `second` of slot `pair`.
async fn start_pair() -> (TestEdge, Backend) {
    let second = Backend::start("second").await.unwrap();
    let builder = Nginx::builder().set("second", second.address()).set("split", upgrades_in_pieces().await);
    (TestEdge::start_with(builder.http(HTTP)).await.unwrap(), second)
}

/// The same for a test that does not use slot `pair`.
async fn start() -> TestEdge {
    start_pair().await.0
}

/// A server that upgrades each connection and sends the head of its answer in two pieces.
async fn upgrades_in_pieces() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut head = [0; 4096];
                let _ = stream.read(&mut head).await;
                let _ = stream.set_nodelay(true);
                let _ = stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\n").await;
                tokio::time::sleep(Duration::from_millis(100)).await;
                let _ = stream.write_all(b"connection: upgrade\r\nupgrade: echo\r\n\r\n").await;
                while let Ok(read) = stream.read(&mut head).await {
                    if read == 0 {
                        break;
                    }
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_whose_head_comes_in_two_pieces_is_counted() {
    let edge = start().await;
    edge.shop.switch_to("split").await.unwrap();
    let mut client = edge.connect().await.unwrap();
    let answer = client.request("GET", "/", &[("connection", "upgrade"), ("upgrade", "echo")]).await.unwrap();
    assert_eq!(answer.status, 101);
    let upgraded = edge.slot("split").await.unwrap().upgraded;
    drop(client);
    let over = async || edge.slot("split").await.unwrap().counters.in_flight == 0;
    wait::until_async(wait::PATIENCE, "the connection to end", over).await.unwrap();
    let whole = edge.slot("split").await.unwrap().whole.count;
    assert_eq!((upgraded, whole), (1, 0), "upgraded connections, whole answers");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_can_use_the_slot_variable() {
    let edge = start().await;
    for at in 0..4 {
        assert_eq!(edge.get(&format!("/hashed/{at}")).await.unwrap().status, 200);
    }
    let settled = async || {
        let group = edge.nginx.admin().group("hashed").await.unwrap();
        let one = group.slot("one").unwrap().counters;
        (one.requests, one.in_flight) == (4, 0)
    };
    wait::until_async(wait::PATIENCE, "four requests, and none in flight", settled).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_answer_that_nginx_replaces_is_no_failed_attempt() {
    let edge = start().await;
    edge.blue.on("/excused/a", Action::status(502));
    edge.blue.on("/excused/b", Action::status(504));
    assert_eq!(edge.get("/excused/a").await.unwrap().status, 200);
    assert_eq!(edge.get("/excused/b").await.unwrap().status, 200);
    let blue = edge.slot("blue").await.unwrap();
    assert_eq!((blue.failures.answer, blue.failures.timeout), (0, 0), "{:?}", blue.failures);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_rescued_also_when_another_trial_has_begun() {
    let edge = start().await;
    edge.green.on("/status", Action::status(503).after(Duration::from_millis(700)));
    edge.try_out("green", true).await.unwrap();
    let address = edge.nginx.address("main").unwrap();
    let request = tokio::spawn(client::get(address, "/status"));
    wait::until("the request at green", || edge.green.truth().requests == 1).await.unwrap();
    edge.shop.switch_to("blue").await.unwrap();
    edge.try_out("split", false).await.unwrap();
    let answer = request.await.unwrap().unwrap();
    assert_eq!(answer.status_and_slot(), (200, "blue"), "the rescue was armed when the request began");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_cache_entry_is_fetched_again() {
    // `/plain` goes straight to an upstream, for comparison with nginx without a group.
    for target in ["/plain/x", "/cached/x"] {
        fetch_over_damage(target).await;
    }
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files
}

async fn fetch_over_damage(target: &str) {
    let edge = start().await;
    assert_eq!(edge.get(target).await.unwrap().status_and_slot(), (200, "blue"));
    let cache = edge.nginx.prefix().join("cache");
    // nginx writes the entry after it has sent the answer.
    wait::until("the entry in the cache", || files_in(&cache).len() == 1).await.unwrap();
    let files = files_in(&cache);
    let file = files.first().unwrap();
    let mut kept = std::fs::read(file).unwrap();
    let at = kept.windows(7).position(|part| part == b"x-slot:").unwrap();
    *kept.get_mut(at).unwrap() = 1;
    std::fs::write(file, kept).unwrap();
    assert_eq!(edge.get(target).await.unwrap().status_and_slot(), (200, "blue"), "{target}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_reached_a_group_has_no_slot() {
    let edge = start().await;
    let mut stream = tokio::net::TcpStream::connect(edge.nginx.address("main").unwrap()).await.unwrap();
    stream.write_all(b"POST /upload HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nabc").await.unwrap();
    // nginx now waits for the rest of the body. No condition shows this, so sleep.
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(stream);
    let log = || std::fs::read_to_string(edge.nginx.prefix().join("slots.log")).unwrap();
    wait::until("the request in the log", || log().ends_with('\n')).await.unwrap();
    assert_eq!(log().trim(), "/upload:-:-");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_try_stays_one_try_after_a_closed_kept_connection() {
    let edge = start().await;
    edge.try_out("green", true).await.unwrap();
    let mut client = edge.connect().await.unwrap();
    assert_eq!(client.request("GET", "/once", &[]).await.unwrap().status, 200);
    edge.green.on("/", Action::CloseThen(503));
    let answer = client.request("GET", "/status-once", &[]).await.unwrap();
    assert_eq!(answer.status_and_slot(), (503, "green"), "green's own answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_try_of_two_servers_stays_one_try() {
    let (edge, second) = start_pair().await;
    edge.try_out("pair", true).await.unwrap();
    let mut client = edge.connect().await.unwrap();
    second.on("/", Action::status(200).closing());
    edge.blue.on("/", Action::status(200).closing());
    // Only green keeps its connection open.
    let mut slots = Vec::new();
    for _ in 0..3 {
        slots.push(client.request("GET", "/once", &[]).await.unwrap().slot().to_owned());
    }
    assert_eq!(slots, ["green", "second", "blue"]);
    edge.green.on("/", Action::Cut);
    second.on("/", Action::Cut);
    let answer = client.request("GET", "/once", &[]).await.unwrap();
    let pair = edge.slot("pair").await.unwrap();
    assert_eq!(
        answer.status, 502,
        "one kept connection that was closed, then one try: {:?} {:?}",
        pair.counters, pair.failures
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_names_the_slot_also_where_the_group_is_a_variable() {
    let edge = start().await;
    for target in ["/fixed", "/variable", "/loud", "/uri"] {
        let answer = edge.get(target).await.unwrap();
        assert_eq!(answer.head.header("x-request-id"), Some("<blue>"), "{target}");
    }
}
