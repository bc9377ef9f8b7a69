//! Connections that outlive many switches: bidirectional gRPC streams, and WebSockets. Each stays with its slot and keeps
//! working over switches to and fro and a reload.

use std::net::SocketAddr;

use cutover_core::api::Group;
use cutover_tests::client::Client;
use cutover_tests::{Nginx, Switcher, wait};

use super::{echo, nginx, websockets};

/// Connections that are opened after each switch.
const PER_SWITCH: u64 = 2;

#[tokio::test(flavor = "multi_thread")]
async fn grpc_streams_live_over_ten_switches() {
    let nginx =
        nginx(echo::serve("blue").await, echo::serve("green").await, "http2", "grpc_pass grpc://shop;").await;
    let address = nginx.address("main").unwrap();
    live_over_ten_switches(&nginx, echo::Stream::open, address, echo::Stream::say, echo::Stream::end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_live_over_ten_switches() {
    let ([blue, green], nginx) = websockets().await;
    let address = nginx.address("main").unwrap();
    live_over_ten_switches(&nginx, handshake, address, say, async |client| drop(client)).await;
    wait::until("nginx to close its connections", || blue.truth().in_flight + green.truth().in_flight == 0)
        .await
        .unwrap();
}

async fn live_over_ten_switches<C>(
    nginx: &Nginx,
    open: impl AsyncFn(SocketAddr) -> (String, C),
    address: SocketAddr,
    say: impl AsyncFn(&mut C, &str),
    end: impl AsyncFn(C),
) {
    let shop = Switcher::new(nginx, "shop", &["blue", "green"]);
    let mut all = Vec::new();
    for number in 0..10 {
        shop.switch().await.unwrap();
        for _ in 0..PER_SWITCH {
            let (slot, connection) = open(address).await;
            assert_eq!(slot, shop.oracle().settled(), "after switch {number}");
            all.push((slot, connection));
        }
        for (slot, connection) in &mut all {
            say(connection, &format!("{slot} after switch {number}")).await;
        }
        for slot in ["blue", "green"] {
            let open = all.iter().filter(|(began, _)| began == slot).count() as u64;
            in_flight(nginx, slot, open).await;
        }
        if number == 4 {
            // The open connections stay with the old workers.
            nginx.reload().await.unwrap();
        }
    }
    for (_, connection) in all {
        end(connection).await;
    }
    in_flight(nginx, "blue", 0).await;
    in_flight(nginx, "green", 0).await;
    wait::until("the old workers to end", || nginx.pids().len() == 3).await.unwrap();
    let group = nginx.admin().group("shop").await.unwrap();
    let sum = |count: fn(&cutover_core::counters::Counters) -> u64| {
        group.slots.iter().map(|slot| count(&slot.counters)).sum::<u64>()
    };
    assert_eq!(sum(|counters| counters.requests), 10 * PER_SWITCH);
    assert_eq!(sum(|counters| counters.attempts_failed + counters.responses.server_error), 0, "{group:?}");
}

async fn in_flight(nginx: &Nginx, slot: &str, number: u64) {
    let count = |group: &Group| group.slot(slot).unwrap().counters.in_flight;
    let check = async || count(&nginx.admin().group("shop").await.unwrap()) == number;
    wait::until_async(wait::PATIENCE, &format!("{number} in flight on {slot}"), check).await.unwrap();
}

async fn handshake(address: SocketAddr) -> (String, Client) {
    let mut client = Client::connect(address).await.unwrap();
    let answer = client.request("GET", "/", &[("connection", "upgrade"), ("upgrade", "echo")]).await.unwrap();
    assert_eq!(answer.status, 101);
    (answer.head.header("x-slot").unwrap().to_owned(), client)
}

async fn say(client: &mut Client, text: &str) {
    assert_eq!(client.echo(text.as_bytes()).await.unwrap(), text.as_bytes());
}
