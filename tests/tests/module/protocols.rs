//! Promise 1 for other protocols: HTTP/2 from the client, and gRPC, FastCGI, uwsgi, SCGI and WebSocket handshakes to the
//! slots. Each is tested under switches to and fro, with every answer checked. Also the slots' figures for gRPC.

mod echo;
mod frames;
mod grpc;
mod grpc_figures;
pub(super) mod packets;
mod streams;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::Instant;

use cutover_tests::client::{self, Client};
use cutover_tests::nginx::Nginx;
use cutover_tests::{Action, Backend, SlotOracle};

const SWITCHES: u32 = 100;

/// Starts nginx with one group of two slots and `location / { LOCATION }`.
async fn nginx(blue: SocketAddr, green: SocketAddr, listen: &str, location: &str) -> Nginx {
    let http = "
        cutover_state %%prefix%%/state;
        upstream shop_blue { server %%blue%%; keepalive 8; }
        upstream shop_green { server %%green%%; keepalive 8; }
        cutover shop { slot blue shop_blue; slot green shop_green; active blue; }
        # One connection is used for the whole test.
        keepalive_requests 1000000;
        server { listen %%listen:main%% %%options%%; location / { %%location%% } }
        server { listen %%admin%%; location / { cutover_api write=on; } }
    ";
    let builder = Nginx::builder().set("blue", blue).set("green", green);
    builder.set("options", listen).set("location", location).http(http).start().await.unwrap()
}

/// Two servers that upgrade every connection, and nginx in front of them.
async fn websockets() -> ([Backend; 2], Nginx) {
    let backends = [Backend::start("blue").await.unwrap(), Backend::start("green").await.unwrap()];
    for backend in &backends {
        backend.on("/", Action::Upgrade);
    }
    let location = "proxy_pass http://shop; proxy_http_version 1.1;
        proxy_set_header Connection upgrade; proxy_set_header Upgrade $http_upgrade;";
    let nginx = nginx(backends[0].address(), backends[1].address(), "", location).await;
    (backends, nginx)
}

/// Sends requests from several tasks while the route is switched, and asserts that each answer comes from an allowed slot.
async fn assert_exact<A, F>(nginx: &Nginx, ask: A)
where
    A: Fn(SocketAddr) -> F + Clone + Send + 'static,
    F: Future<Output = String> + Send,
{
    let expected = SlotOracle::new("blue");
    let (answers, stop) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let address = nginx.address("main").unwrap();
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (ask, expected) = (ask.clone(), Arc::clone(&expected));
        let (answers, stop) = (Arc::clone(&answers), Arc::clone(&stop));
        senders.spawn(async move {
            while !stop.load(SeqCst) {
                let sent = Instant::now();
                let slot = ask(address).await;
                assert!(
                    expected.allows(&slot, sent, Instant::now()),
                    "{slot:?} answered; allowed: {expected:?}"
                );
                answers.fetch_add(1, SeqCst);
            }
        });
    }
    for number in 0..SWITCHES {
        let to = if number % 2 == 0 { "green" } else { "blue" };
        let call = expected.announce(to);
        nginx.admin().switch("shop", to).await.unwrap();
        call.acknowledge();
        assert_eq!(ask(address).await, to);
        let goal = answers.load(SeqCst) + 10;
        cutover_tests::wait::until("more answers", || answers.load(SeqCst) >= goal || senders.is_empty())
            .await
            .unwrap();
    }
    stop.store(true, SeqCst);
    while let Some(sender) = senders.join_next().await {
        sender.unwrap();
    }
    println!("{} answers, {SWITCHES} switches, on {}", answers.load(SeqCst), nginx.flavour());
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_from_the_client() {
    let (blue, green) = (Backend::start("blue").await.unwrap(), Backend::start("green").await.unwrap());
    let location = "proxy_pass http://shop; proxy_http_version 1.1; proxy_set_header Connection '';";
    let nginx = nginx(blue.address(), green.address(), "http2", location).await;
    // One connection with concurrent streams, before and after each switch.
    let connection = grpc::connect(nginx.address("main").unwrap()).await;
    assert_exact(&nginx, move |_| grpc::ask(connection.clone(), "text/plain")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_to_the_slots() {
    let (blue, green) = (grpc::serve("blue").await, grpc::serve("green").await);
    let nginx = nginx(blue, green, "http2", "grpc_pass grpc://shop;").await;
    let connection = grpc::connect(nginx.address("main").unwrap()).await;
    assert_exact(&nginx, move |_| grpc::ask(connection.clone(), "application/grpc")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fastcgi_to_the_slots() {
    let (blue, green) = (packets::fastcgi("blue").await, packets::fastcgi("green").await);
    let nginx = nginx(blue, green, "", "fastcgi_pass shop;").await;
    assert_exact(&nginx, slot_of).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uwsgi_to_the_slots() {
    let (blue, green) = (packets::uwsgi("blue").await, packets::uwsgi("green").await);
    let nginx = nginx(blue, green, "", "uwsgi_pass shop;").await;
    assert_exact(&nginx, slot_of).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scgi_to_the_slots() {
    let (blue, green) = (packets::scgi("blue").await, packets::scgi("green").await);
    let nginx = nginx(blue, green, "", "scgi_pass shop;").await;
    assert_exact(&nginx, slot_of).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn websocket_handshakes() {
    let (_backends, nginx) = websockets().await;
    assert_exact(&nginx, async |address: SocketAddr| {
        let mut client = Client::connect(address).await.unwrap();
        let answer =
            client.request("GET", "/", &[("connection", "upgrade"), ("upgrade", "echo")]).await.unwrap();
        assert_eq!(answer.status, 101);
        assert_eq!(client.echo(b"hello").await.unwrap(), b"hello");
        answer.head.header("x-slot").unwrap_or_default().to_owned()
    })
    .await;
}

async fn slot_of(address: SocketAddr) -> String {
    let answer = client::get(address, "/").await.unwrap();
    assert_eq!(answer.status, 200);
    let slot = answer.head.header("x-slot").unwrap_or_default().to_owned();
    assert_eq!(String::from_utf8(answer.body).unwrap(), slot);
    slot
}
