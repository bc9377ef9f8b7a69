//! `max_conns` and `backup`: nginx's connection count of a peer stays correct when the slot is switched.

use cutover_tests::test_edge::TestEdge;
use cutover_tests::{Action, Backend, Client, Nginx, wait};

const LOCATION: &str =
    "location / { proxy_pass http://shop; add_header x-cutover-slot $cutover_slot always; }";

async fn start(upstreams: &str) -> (TestEdge, Backend) {
    let spare = Backend::start("blue").await.unwrap();
    let builder = Nginx::builder().set("spare", spare.address());
    let edge = TestEdge::start_with(builder.http(&TestEdge::http(upstreams, LOCATION))).await.unwrap();
    (edge, spare)
}

/// Requests over `max_conns` go to the backup. Finished requests must be subtracted from the peer's count.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_peer_gets_requests_again() {
    let upstreams = "
        upstream shop_blue { zone blue 64k; server %%blue%% max_conns=2; server %%spare%% backup; }
        upstream shop_green { zone green 64k; least_conn; server %%green%% max_conns=100; keepalive 8; }
    ";
    let (edge, spare) = start(upstreams).await;
    edge.blue.on("/hang", Action::Hang);
    spare.on("/hang", Action::Hang);
    let load = edge.load().unwrap();
    edge.shop.switch_times(&load, 30).await.unwrap();
    let report = load.stop().await;
    edge.assert_exact("max_conns, 30 switches", &report).unwrap();
    assert!(spare.truth().requests > 0, "eight concurrent senders need more than two connections");
    let sum = edge.blue.truth().requests + edge.green.truth().requests + spare.truth().requests;
    assert_eq!(sum, report.total);

    edge.shop.switch_to("blue").await.unwrap();
    let mut clients = Vec::new();
    for (number, (blue, backup)) in [(1, 0), (2, 0), (2, 1), (2, 2)].into_iter().enumerate() {
        let mut client = Client::connect(edge.nginx.address("main").unwrap()).await.unwrap();
        client.send("GET", "/hang", &[]).await.unwrap();
        clients.push(client);
        let held = || (edge.blue.truth().in_flight, spare.truth().in_flight) == (blue, backup);
        wait::until(&format!("request {number} at its peer"), held).await.unwrap();
    }
}

/// The server of a slot stops and comes back between switches; the backup takes its requests.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_takes_over() {
    let upstreams = "
        upstream shop_blue { server %%blue%% fail_timeout=1s; server %%spare%% backup; keepalive 8; }
        upstream shop_green { server %%green%%; keepalive 8; }
    ";
    let (mut edge, spare) = start(upstreams).await;
    let load = edge.load().unwrap();
    edge.shop.switch_times(&load, 4).await.unwrap();
    assert_eq!(spare.truth().requests, 0, "the backup gets no request while the server is up");
    edge.blue.stop().await;
    edge.shop.switch_times(&load, 10).await.unwrap();
    let (by_backup, before) = (spare.truth().requests, edge.blue.truth().requests);
    assert!(by_backup > 0);
    edge.blue.resume().await.unwrap();
    edge.shop.switch_to("blue").await.unwrap();
    wait::until("the server to be tried again", || edge.blue.truth().requests > before).await.unwrap();
    edge.shop.switch_times(&load, 6).await.unwrap();
    let report = load.stop().await;
    edge.assert_exact("a backup, 21 switches", &report).unwrap();
}
